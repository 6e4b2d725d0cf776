"""Checkpoints that are on disk before the next line runs; plugins such as AsyncCheckpointIO write in the background."""

from pathlib import Path

from lightning import Trainer


def save_weights(trainer: Trainer, path: Path) -> None:
    """Save the module of a Trainer without what only a resumed training needs."""
    trainer.save_checkpoint(path, weights_only=True)
    wait_for_checkpoints(trainer)


def wait_for_checkpoints(trainer: Trainer) -> None:
    """Return when everything that was saved is written; the next save starts the writer again."""
    trainer.strategy.checkpoint_io.teardown()
