"""What Weights & Biases shows in addition to the figures that Lightning logs."""

import tempfile
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from padseg import __version__
from padseg.callbacks.curves import evaluation_curves
from padseg.callbacks.images import ImagesCallback
from padseg.callbacks.verdicts import display_thresholds
from padseg.callbacks.wandb_artifacts import student_artifact, use_student
from padseg.callbacks.wandb_media import log_curves, log_pairs, log_table, log_worst
from padseg.data import AnomalyDataModule
from padseg.models import SYSTEMS
from padseg.modules import AnomalyModule, SegmentationModule, StudentDistillModule
from padseg.records import Records, choose_images, worst_first


class WandbCallback(ImagesCallback):
    """Logs to Weights & Biases what a run trains on and how it judges images.

    It logs synthetic pairs when training starts; the images judged worst, with their masks, after each
    validation and test; and a table with one row per image, and the curves, after a test. It adds the
    options of the data and the Trainer to the configuration. Without a `WandbLogger` it does nothing.

    The hand-off between the phases is an artifact: `student-<digest of the weights>`, of type
    `student`, is logged when a distillation ends and used when a segmentation starts. Both runs derive
    the name from the weights and store it in their configuration as `student`. Offline, where W&B cannot
    link artifacts, the configuration is the only place that has it.

    Args:
        pairs: Synthetic pairs to show.
        pictures: Largest number of normal images, and of defect images, to show after an evaluation.
        table: Largest number of rows in the table of test images, which always includes the worst ones.
    """

    def __init__(self, pairs: int = 8, pictures: int = 8, table: int = 250) -> None:
        super().__init__()
        self.pairs = pairs
        self.pictures = pictures
        self.table = table

    def should_record(self, trainer: Trainer, stage: str) -> bool:
        """If there is a `WandbLogger`."""
        return bool(_loggers(trainer))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add data and Trainer to the configuration, because Lightning logs only the module's options."""
        for logger in _loggers(trainer):
            logger.log_hyperparams(_configuration(trainer, pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show pairs and link the student in use, unless a training is resumed."""
        if trainer.global_step or not trainer.is_global_zero:
            return
        for logger in _loggers(trainer):
            log_pairs(logger, trainer, self.pairs)
            if isinstance(pl_module, SegmentationModule):
                use_student(logger, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the student of a distillation for the next phase."""
        if not isinstance(pl_module, StudentDistillModule):
            return
        if not SYSTEMS[pl_module.system].segmentation or not _loggers(trainer):
            return
        with tempfile.TemporaryDirectory(prefix="padseg-") as folder:
            # All processes take part in saving, but only the first one writes.
            path = Path(trainer.strategy.broadcast(folder)) / "distill.ckpt"
            trainer.save_checkpoint(path, weights_only=True)
            if trainer.is_global_zero:
                for logger in _loggers(trainer):
                    artifact = student_artifact(pl_module, path)
                    logger.log_hyperparams({"student": artifact.name})
                    logger.experiment.log_artifact(artifact)
            trainer.strategy.barrier()

    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Show the worst images; after a test, also the table and the curves."""
        thresholds = display_thresholds(trainer, pl_module, stage)
        step = trainer.global_step
        for logger in _loggers(trainer):
            for kind, indices in zip(
                ("normal", "defect"), worst_first(records.table, self.pictures), strict=True
            ):
                if indices:
                    log_worst(logger, f"{stage}/{kind}", records, indices, thresholds, step)
            if stage == "test":
                chosen = choose_images(records.table, self.table)
                log_table(logger, records, chosen, thresholds, step)
                log_curves(logger, evaluation_curves(trainer, stage))


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
        found["data"]["synthesis"] = data.stream_options().state()["synthesis"]
    return found
