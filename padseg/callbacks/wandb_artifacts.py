"""The hand-off between the phases, and the final model, as artifacts of Weights & Biases."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from padseg.machine.files import expanded
from padseg.models.weight_files import hash_weights
from padseg.modules import AnomalyModule, SegmentationModule


def _student_name(pl_module: AnomalyModule) -> str:
    """The name of a student's artifact, derived from its weights; see `WandbCallback`."""
    return f"student-{hash_weights(pl_module.student_teacher.state_dict())[:16]}"


def student_artifact(pl_module: AnomalyModule, path: Path) -> wandb.Artifact:
    """The artifact of a student whose checkpoint is at `path`."""
    metadata = {"system": pl_module.system, "network": pl_module.network.to_dict()}
    artifact = wandb.Artifact(_student_name(pl_module), type="student", metadata=metadata)
    artifact.add_file(str(path), name="distill.ckpt")
    return artifact


def use_student(logger: WandbLogger, pl_module: SegmentationModule) -> None:
    """Link the artifact of the student, or its file if no run has logged it."""
    name = _student_name(pl_module)
    logger.log_hyperparams({"student": name})
    run: Any = logger.experiment
    if run.offline or run.disabled:
        return
    try:
        logger.use_artifact(f"{name}:latest", artifact_type="student")
    except (wandb.Error, ValueError) as error:
        path = pl_module.hparams.get("distilled")
        if path is None or not expanded(path).is_file():
            rank_zero_warn(f"the student {name} is not linked in Weights & Biases: {error}")
            return
        run.use_artifact(student_artifact(pl_module, expanded(path)))


def log_model(
    logger: WandbLogger, name: str, path: Path, aliases: Sequence[str], metadata: Mapping[str, Any]
) -> None:
    """Log a finished checkpoint as a version of the model of that name.

    Args:
        logger: The logger of the run that made it.
        name: Name of the model; letters that W&B does not take are replaced.
        path: The checkpoint.
        aliases: Names of this version, in addition to `latest`.
        metadata: What W&B shows beside it.
    """
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)
    artifact = wandb.Artifact(plain, type="model", metadata=dict(metadata))
    artifact.add_file(str(path))
    logger.experiment.log_artifact(artifact, aliases=["latest", *aliases])
