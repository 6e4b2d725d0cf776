"""Signals outside the loops of a Trainer."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from lightning import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

_noted: WeakSet[Trainer] = WeakSet()


def note_sigterm(trainer: Trainer, noted: bool = True) -> None:
    """Note that this process of a training received SIGTERM, or forget it."""
    (_noted.add if noted else _noted.discard)(trainer)


def is_to_stop(trainer: Trainer) -> bool:
    """Whether this process received SIGTERM."""
    return trainer.received_sigterm or trainer in _noted


def stop_together(trainer: Trainer) -> None:
    """Stop all processes of a training at this point, if one of them received SIGTERM.

    Raises:
        SIGTERMException: One did.
    """
    if trainer.strategy.reduce_boolean_decision(is_to_stop(trainer), all=False):
        raise SIGTERMException


@contextmanager
def handled_signals(trainer: Trainer) -> Iterator[None]:
    """Make a Trainer handle signals outside its loops too: SIGTERM, and SLURM's signal to requeue the job."""
    connector = trainer._signal_connector
    connector.register_signal_handlers()
    try:
        yield
    finally:
        connector.teardown()
