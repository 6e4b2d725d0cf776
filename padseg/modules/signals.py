"""Signals outside the loops of a Trainer."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException


def stop_prediction_on_sigterm(trainer: Trainer) -> None:
    """Stop a prediction between two batches, as Lightning stops its other loops.

    Raises:
        SIGTERMException: The process received SIGTERM.
    """
    if trainer.received_sigterm:
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
