"""Stopping, and saving what a training goes on from."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from padseg.errors import ConfigError


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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave what another training has saved.

        Raises:
            ConfigError: This one would replace it.
        """
        super().on_train_start(trainer, pl_module)
        last = Path(self.dirpath or "", self.CHECKPOINT_NAME_LAST + self.FILE_EXTENSION)
        if self.save_last and last.exists() and not _goes_on(trainer, last):
            raise ConfigError(
                f"{last} is another training's: pass --ckpt_path last to go on with that, or another "
                "--checkpoint.dirpath."
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, but leave a step that will be validated to the end of that."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # amid a step
        # Saved before its validation, a step would never be validated by the resumed training.
        every = (trainer.val_check_batch if sum(trainer.num_val_batches) else None) or math.inf
        if (batch_idx + 1) % every:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when it was time before the validation."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and _between_steps(trainer):
            super().on_train_batch_end(trainer, pl_module, None, None, 0)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """On SIGTERM, save the step; it is raised between two steps, or in a validation."""
        super().on_exception(trainer, pl_module, exception)
        # A validation that was cut short cannot go on with half of its images.
        whole = trainer.training and _between_steps(trainer)
        if isinstance(exception, SIGTERMException) and whole:
            self._save(trainer)
        stopped = isinstance(exception, SIGTERMException | KeyboardInterrupt)
        if stopped and trainer.state.fn == "fit" and self.last_model_path:
            exception.args = (self.last_model_path,)  # for the message

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step, when the interval did not."""
        if self.save_last:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            self._save_last_checkpoint(trainer, candidates)


def _goes_on(trainer: Trainer, last: Path) -> bool:
    """Whether this is the training that has saved `last`."""
    if trainer.global_step == 0:
        return False
    if trainer.ckpt_path is None:
        return True
    resumed = Path(trainer.ckpt_path)
    # Those of Lightning for a job that SLURM preempts lie in the trainer's folder.
    preempted = resumed.name.startswith("hpc_ckpt_")
    return preempted or resumed.parent.resolve() == last.parent.resolve()


def _between_steps(trainer: Trainer) -> bool:
    """Whether no gradient waits for further batches of its step."""
    done: int = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return done % trainer.accumulate_grad_batches == 0


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, beside the file that training goes on from, unless a folder is named.

    It does not forget the best step when a training is resumed, as Lightning does where the folder has
    another name than before: that of a logger's next version has.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the folder of `ResumeCheckpoint`, which leaves another training's alone."""
        if self.dirpath is None:
            folders = [
                callback.dirpath
                for callback in trainer.checkpoint_callbacks
                if isinstance(callback, ResumeCheckpoint)
            ]
            self.dirpath = next(iter(folders), None)
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what was best, wherever it lies now."""
        state = dict(state_dict)
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = self._now(state.get(key) or "")
        models = state.get("best_k_models", {})
        state["best_k_models"] = {self._now(path): score for path, score in models.items()}
        super().load_state_dict(state | {"dirpath": self.dirpath})

    def _now(self, path: str) -> str:
        moved = Path(self.dirpath or "") / Path(path).name
        # Rather than the one before: a copied folder must leave the original alone.
        return str(moved) if path and moved.exists() else path


def stop_on_sigterm(trainer: Trainer) -> None:
    """Stop a prediction, as Lightning stops its other loops.

    Raises:
        SIGTERMException: The process was told to stop.
    """
    if trainer.received_sigterm:
        raise SIGTERMException


def stop_together(trainer: Trainer) -> None:
    """Let all processes of a training stop at the same step when one of them is told to.

    In Lightning 2.6 the process that was told broadcasts from within the signal's handler, for which one
    that waits in a step's reduction cannot answer: both wait for ever. Here the handler only takes a note,
    and the processes ask each other between two steps, where Lightning has them meet anyway.
    """
    connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop
    told = False

    def note(signum: Any, _: Any) -> None:
        nonlocal told
        launcher = trainer.strategy.launcher
        if not told and launcher is not None:
            launcher.kill(signum)
        told = True
        connector.received_sigterm = trainer.world_size == 1 or trainer.state.fn != "fit"

    def meet() -> None:
        if trainer.strategy.reduce_boolean_decision(told, all=False):
            raise SIGTERMException

    connector._sigterm_notifier_fn = note  # type: ignore[method-assign]
    loop._broadcast_sigterm_tensor = meet  # type: ignore[method-assign]
