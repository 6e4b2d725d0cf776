"""The W&B run of each phase of `padseg run`."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger

from padseg.callbacks.wandb_logger import SectionedWandbLogger
from padseg.errors import ConfigError
from padseg.machine.files import read_json, write_json


def start_wandb(
    project: str, folder: Path, logs: Path, group: str, seed: int, phase: str
) -> WandbLogger:
    """Start the W&B run of a phase, or go on with the one that an earlier process started.

    Args:
        project: The project in W&B.
        folder: Folder of the run, where W&B keeps its files.
        logs: Folder of the phase's logs, which remembers the id of its W&B run.
        group: Label and category, by which W&B averages over seeds.
        seed: The seed.
        phase: Name of the phase, by which it tells the phases apart.

    Raises:
        ConfigError: W&B refuses, for want of a login or because of a setting.
    """
    kept = logs / "wandb.json"
    if not kept.exists():
        write_json(kept, {"id": uuid.uuid4().hex[:8]})
    logger = SectionedWandbLogger(
        project=project,
        name=f"{group} seed{seed} {phase}",
        group=group,
        job_type=phase,
        save_dir=folder,
        id=read_json(kept)["id"],
        resume="allow",
    )
    try:
        logger.experiment  # noqa: B018 - starts the W&B run
    except (wandb.Error, ValueError) as error:  # of a setting, pydantic's is a ValueError
        reason = " ".join(str(error).split()).rstrip(".")
        mistyped = isinstance(error, ValueError) or "project name" in reason
        remedy = "" if mistyped else "; run `wandb login`, or set WANDB_MODE=offline"
        raise ConfigError(f"--wandb {project}: {reason}{remedy}.") from error
    return logger


@contextmanager
def finished_wandb() -> Iterator[None]:
    """End the W&B run that the block started, because the next phase has a run of its own."""
    before = wandb.run
    failed = 1
    try:
        yield
        failed = 0
    finally:
        if wandb.run is not before:
            wandb.finish(exit_code=failed)
