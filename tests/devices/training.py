"""A short training and a test of any system with padseg's callbacks, on whichever device."""

from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer

from padseg.callbacks import (
    EvaluationCallback,
    PicturesCallback,
    RecordsCallback,
    ResumeCheckpoint,
    StepBar,
    StopTogether,
    ThresholdCallback,
)
from padseg.metrics import AUPIMO, ImageMetrics, PixelMetrics
from padseg.models import SYSTEMS
from padseg.modules import AnomalyModule
from tiny import tiny_data, tiny_segmentation, tiny_student

SIZE = 32


class MetricsOfTheHost(Callback):
    """The metrics of the same scores on the CPU."""

    def __init__(self) -> None:
        self.pixel, self.image = PixelMetrics(further_fpr_limits=(0.05,)), ImageMetrics()
        self.aupimo = AUPIMO()

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, *_) -> None:
        maps = (outputs["score_map"], batch["mask"], batch["regions"])
        for metric in (self.pixel, self.aupimo):
            metric.update(*(value.cpu() for value in maps))
        self.image.update(outputs["image_score"].cpu().float(), batch["label"].cpu())

    def compute(self) -> dict[str, float]:
        values = self.image.compute() | self.pixel.compute() | {"aupimo": self.aupimo.compute()}
        return {name: float(value.float()) for name, value in values.items()}


def callbacks(folder: Path, root: Path) -> list[Callback]:
    return [
        StopTogether(),
        EvaluationCallback(),
        PicturesCallback(str(folder / "pictures"), count=1),
        ThresholdCallback(),
        RecordsCallback(folder / "records", root),
        ResumeCheckpoint(str(folder), save_last=True),
    ]


def train_and_test(
    module: AnomalyModule,
    folder: Path,
    root: Path,
    textures: Path | None,
    watch: Callback,
    steps: int = 4,
    **where,
) -> None:
    """Train a module with callbacks, and compare the metrics of its device with those of the host.

    Args:
        module: It is trained.
        folder: For its checkpoint and what else is written.
        root: Of the images.
        textures: For synthetic defects.
        watch: The first callback.
        steps: Of the training; the one before the last is validated.
        **where: Options of the Trainer.
    """
    data = tiny_data(root, textures, image_size=SIZE)
    trainer = Trainer(
        callbacks=[watch, *callbacks(folder, root)],
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=steps - 1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **where,
    )
    trainer.fit(module, datamodule=data)
    assert (folder / "last.ckpt").exists()
    assert module.calibration is not None
    shown = StepBar().get_metrics(trainer, module)
    assert shown["loss"] > 0 if module.automatic_optimization else "loss" not in shown
    collect = MetricsOfTheHost()
    trainer.callbacks.append(collect)
    (found,) = trainer.test(module, datamodule=data, verbose=False)
    assert collect.compute() == pytest.approx(found, abs=0, rel=0, nan_ok=True)


def both_phases(
    system: str, options: dict, folder: Path, root: Path, textures: Path, train
) -> None:
    """Train the phases of a system, the second one from the checkpoint of the first.

    Args:
        system: The system.
        options: Further options of the first phase.
        folder: For checkpoints.
        root: Of the images.
        textures: For synthetic defects.
        train: Called with the module, its folder, root and textures for each phase.
    """
    torch.manual_seed(0)
    used = textures if SYSTEMS[system].synthetic else None
    train(tiny_student(system, image_size=SIZE, **options), folder / "one", root, used)
    if SYSTEMS[system].segmentation is not None:
        head = tiny_segmentation(folder / "one" / "last.ckpt", lr_res=0.01, lr_head=0.01)
        train(head, folder / "two", root, used)
