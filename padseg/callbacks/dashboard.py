"""What Weights & Biases gets to see, beside the figures that Lightning logs."""

import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from padseg import __version__
from padseg.callbacks.pictures import title, verdict
from padseg.callbacks.records import (
    ImagesCallback,
    Thresholds,
    all_curves,
    shown_thresholds,
    thinned,
)
from padseg.data import AnomalyDataModule
from padseg.errors import ConfigError
from padseg.machine.files import read_json, write_json
from padseg.models import SYSTEMS
from padseg.models.teacher import hash_weights
from padseg.modules import AnomalyModule, SegmentationModule, StudentDistillModule
from padseg.records.drawing import overlay
from padseg.records.records import Records, choose, worst_first

_AXES = {
    "pixel_precision_recall": ("recall", "precision"),
    "pixel_roc": ("fpr", "tpr"),
    "pro": ("fpr", "pro"),
    "iap": ("recall", "precision"),
    "image_precision_recall": ("recall", "precision"),
    "image_roc": ("fpr", "tpr"),
}
_TABLE = ["index", "defect", "file", "label", "score", "verdict", "picture", "overlay"]


class WandbCallback(ImagesCallback):
    """Shows Weights & Biases what a run trains on and how it judges.

    When training starts, synthetic pairs; after each validation and test, the images judged worst, with
    their masks; after a test, a table with a row an image, and the curves. The configuration also has
    what belongs to the data and to the Trainer. Without a `WandbLogger` it does nothing.

    The hand-off between the phases is an artifact: `student-<digest of the weights>`, of type
    `student`, is logged when a distillation ends and used when a segmentation starts. Both runs know
    the name from the weights themselves, and it is in their configuration as `student`; offline, where
    W&B cannot link a used artifact, only there.

    Args:
        pairs: Synthetic pairs to show.
        pictures: Most normal images, and most defect images, to show after an evaluation.
        table: Most rows of the table of test images; where there are more images, the worst are among
            its rows.
    """

    def __init__(self, pairs: int = 8, pictures: int = 8, table: int = 250) -> None:
        super().__init__()
        self.pairs = pairs
        self.pictures = pictures
        self.table = table

    def wanted(self, trainer: Trainer, stage: str) -> bool:
        """Where W&B sees it."""
        return bool(_loggers(trainer))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Complete the configuration: Lightning logs the module's options only."""
        for logger in _loggers(trainer):
            logger.log_hyperparams(_configuration(trainer, pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show pairs, and say which student is used; not again when a training is resumed."""
        if trainer.global_step or not trainer.is_global_zero:
            return
        for logger in _loggers(trainer):
            _log_pairs(logger, trainer, self.pairs)
            if isinstance(pl_module, SegmentationModule):
                _use_student(logger, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the student over."""
        if not isinstance(pl_module, StudentDistillModule):
            return
        if not SYSTEMS[pl_module.system].segmentation or not _loggers(trainer):
            return
        with tempfile.TemporaryDirectory(prefix="padseg-") as folder:
            # All processes take part in saving, the first one writes.
            path = Path(trainer.strategy.broadcast(folder)) / "distill.ckpt"
            trainer.save_checkpoint(path, weights_only=True)
            if trainer.is_global_zero:
                for logger in _loggers(trainer):
                    artifact = _student(pl_module, path)
                    logger.log_hyperparams({"student": artifact.name})
                    logger.experiment.log_artifact(artifact)
            trainer.strategy.barrier()

    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Show the worst images; after a test all of them, and the curves."""
        thresholds = shown_thresholds(trainer, pl_module, stage)
        step = trainer.global_step
        for logger in _loggers(trainer):
            for kind, indices in zip(
                ("normal", "defect"), worst_first(records.table, self.pictures), strict=True
            ):
                if indices:
                    _log_worst(logger, f"{stage}/{kind}", records, indices, thresholds, step)
            if stage == "test":
                rows = list(_rows(records, choose(records.table, self.table), thresholds))
                logger.log_table("test/images", columns=_TABLE, data=rows, step=step)
                _log_curves(logger, trainer)


def log_to_wandb(trainer: Trainer, project: str, folder: Path, group: str, phase: str) -> None:
    """Add a logger and what it needs; the phases of a run are a group, each a W&B run, also when resumed."""
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
        told = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"--wandb {project}: {told}; run `wandb login`, or set WANDB_MODE=offline."
        ) from error
    trainer.loggers = [*trainer.loggers, logger]
    trainer.callbacks += [WandbCallback(), LearningRateMonitor()]  # type: ignore[attr-defined]


@contextmanager
def finished_wandb() -> Iterator[None]:
    """End the W&B run that was started within: the next phase is another one."""
    before = wandb.run
    failed = 1
    try:
        yield
        failed = 0
    finally:
        if wandb.run is not before:
            wandb.finish(exit_code=failed)


def _loggers(trainer: Trainer) -> list[WandbLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def _configuration(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "padseg": __version__,
        "trainer": {
            "max_steps": trainer.max_steps,
            "precision": trainer.precision,
            "devices": trainer.world_size,
        },
    }
    if isinstance(pl_module, AnomalyModule):
        found["system"] = pl_module.system
        found["phase"] = "segment" if isinstance(pl_module, SegmentationModule) else "distill"
    data: Any = getattr(trainer, "datamodule", None)
    if isinstance(data, AnomalyDataModule):
        names = ("category", "seed", "batch_size", "val_fraction", "augmentation")
        found["data"] = {name: getattr(data, name) for name in names}
        found["data"]["image_size"] = list(data.image_size)
        found["data"]["synthesis"] = None if data.synthesis is None else asdict(data.synthesis)
    return found


def _log_pairs(logger: WandbLogger, trainer: Trainer, count: int) -> None:
    """Log the first samples of the training stream as the model sees them."""
    data: Any = getattr(trainer, "datamodule", None)
    if not count or not isinstance(data, AnomalyDataModule):
        return
    pairs = data.pairs(data.first_sample, count)
    for name in ("clean", "texture"):
        if name in pairs:
            logger.log_image(f"pairs/{name}", _as_pixels(pairs[name]), step=0)
    if "corrupted" in pairs:
        masks = [_masks(mask) for mask in (pairs["mask"][:, 0] > 0).numpy()]
        logger.log_image("pairs/corrupted", _as_pixels(pairs["corrupted"]), step=0, masks=masks)


def _log_worst(
    logger: WandbLogger,
    key: str,
    records: Records,
    indices: list[int],
    thresholds: Thresholds,
    step: int,
) -> None:
    rows: Any = records.table.set_index("index")
    logger.log_image(
        key,
        [records.image(index) for index in indices],
        step=step,
        caption=[title(rows.loc[index], thresholds.image) for index in indices],
        masks=[_record_masks(records, index, thresholds) for index in indices],
    )


def _rows(records: Records, indices: list[int], thresholds: Thresholds) -> Iterable[list[Any]]:
    rows = records.table.set_index("index")
    top = max((float(records.score_map(index).max()) for index in indices), default=1.0)
    for index in indices:
        row: Any = rows.loc[index]
        image, score_map = records.image(index), records.score_map(index)
        yield [
            index,
            row["defect"],
            Path(row["path"]).name,
            int(row["label"]),
            float(row["image_score"]),
            verdict(row, thresholds.image),
            wandb.Image(image, masks=_record_masks(records, index, thresholds)),
            wandb.Image(overlay(image, score_map, thresholds.pixel, top)),
        ]


def _log_curves(logger: WandbLogger, trainer: Trainer) -> None:
    for name, curve in all_curves(trainer, "test").items():
        x, y = _AXES[name]
        points = thinned(curve)
        table = wandb.Table(columns=[x, y], data=list(zip(points[x], points[y], strict=True)))
        chart = wandb.plot.line(table, x, y, title=name.replace("_", " "))
        logger.experiment.log({f"curves/{name}": chart})


def _record_masks(records: Records, index: int, thresholds: Thresholds) -> dict[str, Any]:
    found = None
    if thresholds.pixel is not None:
        found = records.score_map(index) > thresholds.pixel
    return _masks(records.mask(index), found)


def _masks(
    defect: NDArray[np.bool_], found: NDArray[np.bool_] | None = None
) -> dict[str, dict[str, Any]]:
    """Masks as `wandb.Image` takes them."""
    masks = {"defect": {"mask_data": defect.astype(np.uint8), "class_labels": {1: "defect"}}}
    if found is not None:
        # Another class, so that W&B gives it another colour.
        masks["found"] = {"mask_data": found * np.uint8(2), "class_labels": {2: "above threshold"}}
    return masks


def _as_pixels(images: Tensor) -> list[NDArray[np.uint8]]:
    pixels: NDArray[np.uint8] = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return list(pixels)


def _student_name(pl_module: AnomalyModule) -> str:
    return f"student-{hash_weights(pl_module.student_teacher)[:16]}"


def _student(pl_module: AnomalyModule, path: Path) -> wandb.Artifact:
    metadata = {"system": pl_module.system, "network": pl_module.network}
    artifact = wandb.Artifact(_student_name(pl_module), type="student", metadata=metadata)
    artifact.add_file(str(path), name="distill.ckpt")
    return artifact


def _use_student(logger: WandbLogger, pl_module: SegmentationModule) -> None:
    """Link the student that was handed over, or the file it came in where no run has logged it."""
    name = _student_name(pl_module)
    logger.log_hyperparams({"student": name})
    run: Any = logger.experiment
    if run.offline or run.disabled:
        return
    try:
        logger.use_artifact(f"{name}:latest", artifact_type="student")
    except (wandb.Error, ValueError) as error:
        path = pl_module.hparams.get("distilled")
        if path is None or not Path(path).is_file():
            rank_zero_warn(f"the student {name} is not linked in Weights & Biases: {error}")
            return
        run.use_artifact(_student(pl_module, Path(path)))
