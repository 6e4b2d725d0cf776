"""The progress bar of a phase, which is one endless pass over the data."""

import math
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from rich import get_console
from rich.markup import escape
from rich.table import Column

from padseg.machine.console import say
from padseg.machine.progress import Pace

_SECONDS = 0.2  # between two updates of the loss
_FIGURES = 80  # columns of the bar and its figures


class StepBar(RichProgressBar):
    """Lightning's bar, which counts steps instead of calling the whole phase an epoch.

    Args:
        title: What is trained; without room for it, the bar is called `Step`.
    """

    _shown = float("-inf")

    def __init__(self, title: str = "") -> None:
        super().__init__()
        self.title = title

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Lightning's columns, as many as the terminal has room for without cutting off figures."""
        text, bar, steps, times, speed = super().configure_columns(trainer)
        for column in (steps, times, speed):
            column._table_column = Column(no_wrap=True)  # the bar and the loss share what is left
        width = get_console().width
        needed = ((text, 0), (bar, 40), (steps, 0), (times, 60), (speed, 80))
        return [column for column, least in needed if width >= least]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name what is counted."""
        super().on_train_epoch_start(trainer, pl_module)
        if self.progress is not None and self.train_progress_bar_id is not None:
            self.progress.update(self.train_progress_bar_id, description=self.description())

    def description(self) -> str:
        """The text before the bar: the title or, if that would take its room, what is counted."""
        fits = self.title and get_console().width >= len(self.title) + _FIGURES
        return escape(self.title) if fits else "Step"  # names may contain brackets

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the step, unless the bar was updated a moment ago."""
        # Reading the loss makes the host wait for the GPU.
        now = time.monotonic()
        if now - self._shown >= _SECONDS or trainer.global_step == trainer.max_steps:
            self._shown = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The loss, also of a GPU, where the modules do not log it for progress bars.

        Without the logger's version: here it is the name of a phase, and would be cut to four letters.
        """
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        shown = {
            name: value for name, value in metrics.items() if name not in ("v_num", "train_loss")
        }
        loss = trainer.callback_metrics.get("train_loss")
        return shown if loss is None else {"loss": float(loss), **shown}


class StepLines(ProgressBar):
    """A plain line every minute, for pipes, batch jobs and several processes on one terminal.

    Args:
        title: What is trained.
    """

    def __init__(self, title: str = "") -> None:
        super().__init__()
        self.title = title
        self._enabled = True
        self._pace = Pace(0, None)

    def disable(self) -> None:
        """Print nothing; Lightning calls this in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step at which the training begins or resumes."""
        super().on_train_start(trainer, pl_module)
        self._pace = Pace(trainer.global_step, trainer.max_steps if trainer.max_steps > 0 else None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if it is time, and after the last step."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._enabled and (self._pace.is_due() or trainer.global_step == trainer.max_steps):
            loss = trainer.callback_metrics.get("train_loss")
            figures = "" if loss is None else f", loss {float(loss):.4g}"
            steps = self._pace.text(trainer.global_step, "steps")
            say(f"{self.title}: {steps}{figures}" if self.title else f"{steps}{figures}")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches of the test."""
        batches = trainer.num_test_batches[0]
        self._pace = Pace(0, int(batches) if math.isfinite(batches) else None)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Print a line if it is time."""
        if self._enabled and self._pace.is_due():
            title = f"{self.title}, test" if self.title else "test"
            say(f"{title}: {self._pace.text(batch_idx + 1, 'batches')}")
