"""Handling of SIGTERM, for which Lightning 2.6 has no hook.

Like `padseg.modules.sync_batch_norm`, it replaces parts of Lightning.
"""

import signal
from functools import partial
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException

from padseg.callbacks.meeting import Meeting
from padseg.modules.signals import is_to_stop, note_sigterm


class StopTogether(Callback):
    """Stops all processes of a training at the same step when one of them receives SIGTERM.

    In Lightning, the process that receives the signal broadcasts from within its handler
    (`_SignalConnector._sigterm_notifier_fn`). A process that is waiting in the reduction of a step cannot
    answer, so both wait forever. Here, the handler only sets a flag, which the processes exchange between
    two steps, about once a second.
    """

    def __init__(self) -> None:
        self._meeting = Meeting()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replace the two methods before Lightning registers its handlers."""
        note_sigterm(trainer, False)
        connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop
        connector._sigterm_notifier_fn = partial(self._note, trainer)  # type: ignore[method-assign]
        loop._broadcast_sigterm_tensor = partial(self._meet, trainer)  # type: ignore[method-assign]

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the processes that this one started: they would wait for it until a timeout."""
        together = isinstance(exception, SIGTERMException | KeyboardInterrupt)
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher) and not together:
            launcher.kill(signal.SIGKILL)

    def _note(self, trainer: Trainer, signum: Any, _: Any) -> None:
        launcher = trainer.strategy.launcher
        if not is_to_stop(trainer) and launcher is not None:
            launcher.kill(signum)
        note_sigterm(trainer)
        # Without other processes, Lightning's loops check this.
        alone = trainer.world_size == 1 or trainer.state.fn != "fit"
        trainer._signal_connector.received_sigterm = alone

    def _meet(self, trainer: Trainer) -> None:
        if self._meeting.any(trainer, is_to_stop(trainer)):
            raise SIGTERMException
