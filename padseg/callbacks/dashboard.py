"""What Weights & Biases shows in addition to the figures that Lightning logs."""

import tempfile
from pathlib import Path

from lightning import LightningModule, Trainer

from padseg.callbacks.curves import evaluation_curves
from padseg.callbacks.images import ImagesCallback
from padseg.callbacks.verdicts import display_thresholds
from padseg.callbacks.wandb_artifacts import student_artifact, use_student
from padseg.callbacks.wandb_logger import (
    SectionedWandbLogger,
    flat,
    is_final,
    section,
    wandb_loggers,
)
from padseg.callbacks.wandb_media import log_curves, log_pairs, log_table, log_worst
from padseg.callbacks.wandb_options import run_options, threshold_figures
from padseg.metrics.calibration import Calibration
from padseg.modules import SegmentationModule, StudentDistillModule
from padseg.modules.saving import save_weights
from padseg.records import Records, choose_images, worst_first


class WandbCallback(ImagesCallback):
    """Logs to Weights & Biases what a run trains on and how it judges images.

    It logs synthetic pairs when training starts; the images judged worst, with their masks, after each
    validation and test; and a table with one row per image, the curves and the thresholds, after a test.
    It adds the options of the data, the Trainer, the teacher and the first phase to the configuration.
    Without a `WandbLogger` it does nothing; `SectionedWandbLogger` sorts the figures into sections.

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
        """Whether there is a `WandbLogger`."""
        return bool(wandb_loggers(trainer))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add data and Trainer to the configuration, because Lightning logs only the module's options."""
        for logger in wandb_loggers(trainer):
            if isinstance(logger, SectionedWandbLogger):
                logger.test_section = section(pl_module, "test")
            logger.log_hyperparams(dict(flat(run_options(trainer, pl_module))))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show pairs and link the student in use, unless a training is resumed."""
        if trainer.global_step or not trainer.is_global_zero:
            return
        for logger in wandb_loggers(trainer):
            log_pairs(logger, trainer, self.pairs)
            if isinstance(pl_module, SegmentationModule):
                use_student(logger, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the student of a distillation for the next phase."""
        if not isinstance(pl_module, StudentDistillModule) or is_final(pl_module):
            return
        if not wandb_loggers(trainer):
            return
        with tempfile.TemporaryDirectory(prefix="padseg-") as folder:
            # All processes take part in saving, but only the first one writes.
            path = Path(trainer.strategy.broadcast(folder)) / "distill.ckpt"
            save_weights(trainer, path)
            if trainer.is_global_zero:
                for logger in wandb_loggers(trainer):
                    artifact = student_artifact(pl_module, path)
                    logger.log_hyperparams({"student": artifact.name})
                    logger.experiment.log_artifact(artifact)
            trainer.strategy.barrier()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the thresholds of a training; by now, every callback's `on_fit_end` is over."""
        calibration: Calibration | None = getattr(pl_module, "calibration", None)
        if stage != "fit" or calibration is None or not trainer.is_global_zero:
            return
        for logger in wandb_loggers(trainer):
            logger.log_metrics(threshold_figures(calibration), trainer.global_step)

    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Show the worst images; after a test, also the table and the curves."""
        thresholds = display_thresholds(trainer, pl_module, stage)
        step, room = trainer.global_step, section(pl_module, stage)
        calibration: Calibration | None = getattr(pl_module, "calibration", None)
        for logger in wandb_loggers(trainer):
            for kind, indices in zip(
                ("normal", "defect"), worst_first(records.table, self.pictures), strict=True
            ):
                if indices:
                    log_worst(logger, f"{room}/{kind}", records, indices, thresholds, step)
            if stage == "test":
                chosen = choose_images(records.table, self.table)
                log_table(logger, f"{room}/images", records, chosen, thresholds, step)
                log_curves(logger, f"{room}/curves", evaluation_curves(trainer, stage))
                if calibration is not None:
                    logger.log_metrics(threshold_figures(calibration), step)
