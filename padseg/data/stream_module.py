"""The part of the data module that keeps the position of the training in its stream."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lightning import Callback, LightningDataModule
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from padseg.data.depth import ALL_BITS
from padseg.data.stream import Position, StreamOptions, TrainedImages
from padseg.errors import CheckpointError, ConfigError
from padseg.options import refuse_changed_options

_log = logging.getLogger(__name__)


class StreamDataModule(LightningDataModule):
    """A data module whose training samples are one counted stream, which a resumed training continues.

    Attributes:
        batch_size: Images per step and device.
        start: Position in the stream at which training began or resumed.
        trained_images: The images of the training; None before `setup` for one.
        own_validation: Whether the data set has validation images, which are never trained on.
    """

    batch_size: int

    def __init__(self) -> None:
        super().__init__()
        self.start = Position()
        self.trained_images: TrainedImages | None = None
        self.own_validation = False

    def stream_options(self) -> StreamOptions:
        """The options on which the samples depend."""
        raise NotImplementedError

    def begin(self) -> None:
        """Start the stream anew, or go on in it with a Trainer that has trained before."""
        step = 0 if self.trainer is None else self.trainer.global_step
        self.start = self._position_at(step) if step else Position()

    def begin_after(self, before: Mapping[str, Any]) -> None:
        """Let the next training continue the stream of the phase before, given its `state_dict`.

        Raises:
            ConfigError: That phase had another category, or held out fewer images.
            CheckpointError: It trained on other images, of which some may be held out now.
        """
        options = before.get("options", {})
        self.stream_options().require_same_images(options, "--model.distilled")
        self._require_held_out(before, "--model.distilled")
        self.start = Position(before.get("next_sample", 0))

    def refuse_seen(self, before: Mapping[str, Any], checkpoint: str) -> None:
        """Reject weights that have seen what a training or validation holds out, or that a validation reads differently.

        `before` is the `state_dict` of the data module with which they were trained.

        Raises:
            ConfigError: As above.
            CheckpointError: They have seen other images, of which some may be held out now.
        """
        if self.task() in ("fit", "validate"):
            self._require_held_out(before, checkpoint)
        known, now = before.get("options", {}).get("bits", ALL_BITS), self.stream_options().bits
        if self.task() == "validate" and known != now:
            raise ConfigError(
                f"{checkpoint} was trained with --data.bits {known}, not {now}: pass --data.bits {known}."
            )

    def _require_held_out(self, before: Mapping[str, Any], checkpoint: str) -> None:
        options = self.stream_options()
        known = before.get("options", {})
        others = known.get("category", options.category) != options.category
        if others or self.own_validation or options.val_fraction == 0:
            return
        options.require_held_out(known, checkpoint)
        same = ("category", "val_fraction")
        comparable = all(known.get(name) == getattr(options, name) for name in same)
        if self.trained_images is not None and comparable:
            self.trained_images.require_same(before.get("images"), checkpoint, options.category)

    def state_dict(self) -> dict[str, Any]:
        """The number of used samples, so that a resumed run continues with the next one."""
        trainer = self.trainer
        step = 0 if trainer is None else trainer.global_step
        position = self._position_at(step) if step else self.start
        images = {} if self.trained_images is None else {"images": asdict(self.trained_images)}
        return {**position.to_dict(), "options": self.stream_options().to_dict(), **images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where the checkpoint was written.

        Raises:
            CheckpointError: Its training had other samples, or other images than are trained on now.
            ConfigError: In a validation, its training saw images that are held out now, or read them differently.
        """
        task, options = self.task(), self.stream_options()
        before = {"bits": ALL_BITS} | state_dict.get("options", {})
        if task == "fit":
            refuse_changed_options("data", before, options.to_dict())
            if self.trained_images is not None:
                images = state_dict.get("images")
                self.trained_images.require_same(images, "the checkpoint", options.category)
        elif before.get("category", options.category) != options.category:
            _log.warning(
                "The checkpoint was trained on category %s, not %s.",
                before["category"],
                options.category,
            )
        if task == "validate":
            self.refuse_seen(state_dict, "the checkpoint")
        self.start = Position.from_dict(state_dict)

    def require_whole_steps(self) -> None:
        """Reject a checkpoint saved amid an accumulated step: the stream can resume only between steps.

        Raises:
            CheckpointError: As above.
        """
        trainer = self.trainer
        if trainer is None or not trainer.fit_loop.restarting:
            return
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        batches = progress.processed
        accumulated = trainer.accumulate_grad_batches
        if self.start.step and batches > self.start.batch:
            raise CheckpointError(
                f"the checkpoint was saved after {batches} batches, in the middle of an accumulated step: resume from "
                "another one, and save with padseg's ResumeCheckpoint, or give a --trainer.val_check_interval that is "
                "a multiple of accumulate_grad_batches."
            )
        if batches % accumulated:
            raise CheckpointError(
                f"the checkpoint was saved after {batches} batches, not a whole number of steps of "
                f"--trainer.accumulate_grad_batches {accumulated}: give the number that it was trained with."
            )

    def last_sample(self) -> int | None:
        """Where the stream ends; None for never.

        Raises:
            ConfigError: The Trainer counts or limits epochs, or a callback goes by them.
        """
        trainer = self.trainer
        if trainer is None:
            return None
        limit = trainer.limit_train_batches  # 1 is one batch, 1.0 all
        whole = isinstance(limit, float) and limit == 1
        if not whole and not getattr(trainer, "fast_dev_run", False):
            raise ConfigError(
                "--trainer.limit_train_batches and overfit_batches would give the same samples again and "
                "again: set --trainer.max_steps instead."
            )
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks):
            raise ConfigError(
                "GradientAccumulationScheduler goes by epochs, which the stream of samples does not have: use "
                "--trainer.accumulate_grad_batches."
            )
        if trainer.max_steps > 0:
            # BatchSizeFinder counts its steps from 0, also after a training.
            behind = self.start.step if trainer.max_steps <= self.start.step else 0
            return self._position_at(behind + trainer.max_steps).sample
        if trainer.max_epochs != -1:
            raise ConfigError(
                "the stream of samples has no epochs: give Trainer(max_steps=N) instead of max_epochs."
            )
        return None

    def task(self) -> str | None:
        """What the Trainer does: fit, validate, test or predict."""
        return None if self.trainer is None else self.trainer.state.fn

    def shard(self) -> tuple[int, int]:
        """(number of processes, rank of this process)."""
        trainer = self.trainer
        return (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)

    def _position_at(self, step: int) -> Position:
        """The position at which a step begins, counted from `start`."""
        trainer = self.trainer
        assert trainer is not None
        samples = self.batch_size * trainer.world_size
        return self.start.at_step(step, trainer.accumulate_grad_batches, samples)
