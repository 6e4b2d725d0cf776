"""Saving what a killed training goes on from."""

import math
from datetime import timedelta
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


class ResumeCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, whose file always is a step from which training goes on exactly.

    It saves in intervals of time, so that a slow machine loses no more than a fast one; on SIGTERM; and
    the last step. By default there is one file, `last.ckpt`, which each save replaces.

    Args:
        dirpath: Folder; None for the logger's.
        filename: Name of the `save_top_k` checkpoints.
        every_n_train_steps: Steps between saves, instead of an interval of time.
        train_time_interval: Time between saves; ignored when a number of steps is given.
        save_last: Whether `last.ckpt` is written.
        save_top_k: Checkpoints kept beside it.
        enable_version_counter: Whether an existing file gets a successor instead of being replaced.
        **options: As in ModelCheckpoint.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        filename: str | None = None,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = timedelta(minutes=2),
        save_last: bool | None = True,
        save_top_k: int = 0,
        enable_version_counter: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            dirpath,
            filename,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=None if every_n_train_steps else train_time_interval,
            save_last=save_last,
            save_top_k=save_top_k,
            enable_version_counter=enable_version_counter,
            save_on_train_epoch_end=True,
            **options,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, but leave a step that will be validated to the end of that."""
        # Saved before its validation, a step would never be validated by the resumed training.
        every = (trainer.val_check_batch if sum(trainer.num_val_batches) else None) or math.inf
        if (batch_idx + 1) % every:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when it was time before the validation."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit":
            super().on_train_batch_end(trainer, pl_module, None, None, 0)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """On SIGTERM, save the step; it is raised between two steps, or in a validation."""
        # A validation that was cut short cannot go on with half of its images.
        if isinstance(exception, SIGTERMException) and trainer.training:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step, when the interval did not."""
        if self.save_last:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            self._save_last_checkpoint(trainer, candidates)
