"""The progress bar of a phase, which is one endless pass over the data."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console
from rich.table import Column

_SECONDS = 0.2  # between two updates of the loss


class StepBar(RichProgressBar):
    """Lightning's bar, which counts steps instead of calling the whole phase an epoch."""

    _shown = float("-inf")

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Lightning's columns, as many as the terminal has room for without cutting off figures."""
        text, bar, steps, times, speed = super().configure_columns(trainer)
        for column in (steps, times, speed):
            column._table_column = Column(no_wrap=True)  # the bar and the loss share what is left
        width = get_console().width
        columns = [text, bar] if width >= 40 else [text]
        columns.append(steps)
        columns += [times] if width >= 60 else []
        columns += [speed] if width >= 80 else []
        return columns

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name what is counted."""
        super().on_train_epoch_start(trainer, pl_module)
        if self.progress is not None and self.train_progress_bar_id is not None:
            self.progress.update(self.train_progress_bar_id, description="Step")

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
        if (loss := trainer.callback_metrics.get("train_loss")) is not None:
            metrics["train_loss"] = float(loss)
        return {name: value for name, value in metrics.items() if name != "v_num"}
