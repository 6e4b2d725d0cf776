"""The W&B run of each phase of `padseg run`."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wandb
from lightning import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import WandbLogger

from padseg.callbacks.dashboard import WandbCallback
from padseg.errors import ConfigError
from padseg.machine.files import read_json, write_json


def log_to_wandb(trainer: Trainer, project: str, folder: Path, group: str, phase: str) -> None:
    """Add a logger and its callbacks; each phase is one W&B run, even if resumed, in the run's group."""
    kept = folder / "logs" / phase / "wandb.json"
    if not kept.exists():
        write_json(kept, {"id": uuid.uuid4().hex[:8]})
    logger = WandbLogger(
        project=project,
        name=f"{group} {phase}",
        group=group,
        job_type=phase,
        save_dir=folder,
        id=read_json(kept)["id"],
        resume="allow",
    )
    try:
        logger.experiment  # noqa: B018 - starts the W&B run
    except wandb.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"--wandb {project}: {reason}; run `wandb login`, or set WANDB_MODE=offline."
        ) from error
    trainer.loggers = [*trainer.loggers, logger]
    trainer.callbacks += [WandbCallback(), LearningRateMonitor()]  # type: ignore[attr-defined]


@contextmanager
def finished_wandb() -> Iterator[None]:
    """End the W&B run that was started inside, because the next phase is another one."""
    before = wandb.run
    failed = 1
    try:
        yield
        failed = 0
    finally:
        if wandb.run is not before:
            wandb.finish(exit_code=failed)
