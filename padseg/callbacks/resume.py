"""Checkpoints that a training can resume from."""

import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from padseg.callbacks.meeting import Meeting
from padseg.errors import ConfigError


class ResumeCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint from whose file training always resumes exactly.

    It saves at intervals of time, so that a slow machine loses no more than a fast one, and also on
    SIGTERM and at the last step. By default there is one file, `last.ckpt`, which each save replaces.

    Args:
        dirpath: Folder; None for the logger's.
        filename: Name of the `save_top_k` checkpoints.
        every_n_train_steps: Steps between saves, instead of an interval of time.
        train_time_interval: Time between saves; ignored if a number of steps is given.
        save_last: Whether `last.ckpt` is written.
        save_top_k: Checkpoints kept beside it.
        enable_version_counter: Whether an existing file is kept and the new one gets a version number.
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
        self._meeting = Meeting()
        self._stops = False  # after the step that has begun

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the checkpoints of this folder; a resumed checkpoint may have been moved."""
        if state_dict.get("dirpath") == self.dirpath:
            super().load_state_dict(state_dict)
        else:  # as Lightning does, with a warning
            self.best_model_path = state_dict["best_model_path"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder.

        Raises:
            ConfigError: It is not one of this machine, where a training resumes and thresholds are stored.
        """
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and "://" in str(self.dirpath):
            raise ConfigError(
                f"checkpoints would go to {self.dirpath}: give a --checkpoint.dirpath on this machine, and copy it "
                "afterwards."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Protect the checkpoint of another training.

        Raises:
            ConfigError: This training would replace it.
        """
        super().on_train_start(trainer, pl_module)
        last = Path(self.dirpath or "", self.CHECKPOINT_NAME_LAST + self.FILE_EXTENSION)
        if self.save_last and last.exists() and not _is_resumed_from(trainer, last):
            raise ConfigError(
                f"{last} is another training's: pass --ckpt_path last to go on with that, or another "
                "--checkpoint.dirpath."
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, but only after the validation if the step will be validated."""
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self._finish_step(trainer, whole)
        if not whole:
            return
        # If a step were saved before its validation, the resumed training would never validate it.
        every = (trainer.val_check_batch if sum(trainer.num_val_batches) else None) or math.inf
        if (batch_idx + 1) % every and self._is_time(trainer):
            self._save_when_due(trainer, pl_module)

    def _finish_step(self, trainer: Trainer, whole: bool) -> None:
        """Let a training stop after whole steps only: it could not resume exactly with part of a gradient."""
        stops = self._stops or trainer.should_stop
        trainer.should_stop, self._stops = (stops, False) if whole else (False, stops)

    def _save_when_due(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Lightning save, or save directly in manual optimisation, whose time interval it ignores (2.6)."""
        if pl_module.automatic_optimization:
            super().on_train_batch_end(trainer, pl_module, None, None, 0)
            return
        steps = self._every_n_train_steps
        if trainer.global_step % steps == 0 if steps else self._train_time_interval is not None:
            self._last_time_checked = time.monotonic()
            self._save(trainer)

    def _is_time(self, trainer: Trainer) -> bool:
        """Whether Lightning may be asked; with an interval it broadcasts its answer, which takes long."""
        if self._train_time_interval is None:
            return True
        begun = self._last_time_checked
        waited = 0.0 if begun is None else time.monotonic() - begun
        return self._meeting.any(trainer, waited >= self._train_time_interval.total_seconds())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it was time before the validation."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._finish_step(trainer, _between_steps(trainer))
        # Lightning asks itself whether it is time.
        due = pl_module.automatic_optimization or self._is_time(trainer)
        if trainer.state.fn == "fit" and _between_steps(trainer) and due:
            self._save_when_due(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save the step on SIGTERM, which is raised between two steps or during a validation."""
        super().on_exception(trainer, pl_module, exception)
        # An interrupted validation cannot continue with half of its images.
        whole = trainer.training and _between_steps(trainer)
        if isinstance(exception, SIGTERMException) and whole:
            self._save(trainer)
        stopped = isinstance(exception, SIGTERMException | KeyboardInterrupt)
        if stopped and trainer.state.fn == "fit" and self.last_model_path:
            exception.args = (self.last_model_path,)  # for the message

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step, unless the interval just did."""
        if self.save_last:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            self._save_last_checkpoint(trainer, candidates)


def _is_resumed_from(trainer: Trainer, last: Path) -> bool:
    """Whether this training saved `last`."""
    if trainer.global_step == 0:
        return False
    if trainer.ckpt_path is None:
        return True
    resumed = Path(trainer.ckpt_path)
    # Lightning saves the checkpoint of a job that SLURM preempts in the Trainer's folder.
    preempted = resumed.name.startswith("hpc_ckpt_")
    return preempted or resumed.parent.resolve() == last.parent.resolve()


def _between_steps(trainer: Trainer) -> bool:
    """Whether no accumulated gradient is waiting for further batches."""
    done: int = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return done % trainer.accumulate_grad_batches == 0
