"""The options of a training, for the configuration of its W&B run."""

from dataclasses import asdict
from typing import Any

from lightning import LightningModule, Trainer

from padseg import __version__
from padseg.machine.files import expanded
from padseg.metrics.calibration import Calibration
from padseg.modules import AnomalyModule, SegmentationModule, read_header
from padseg.modules.header import STORED_WEIGHTS
from padseg.modules.trainer_parts import data_of

_DATA = ("category", "seed", "batch_size", "val_fraction", "augmentation")
_THRESHOLDS = (
    *("image_threshold", "pixel_threshold", "expected_false_alarm_rate", "normal_images"),
    *("image_recall", "pixel_recall"),
)


def run_options(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
    """What Lightning does not log by itself: data, Trainer, teacher and student, and phase one."""
    found: dict[str, Any] = {
        "padseg": __version__,
        "trainer": {
            "max_steps": trainer.max_steps,
            "precision": trainer.precision,
            "devices": trainer.world_size,
        },
    }
    if isinstance(pl_module, AnomalyModule):
        network = pl_module.network
        teachers = network.teacher_names(pl_module.parts.teachers)
        found |= network.to_dict() | dict(zip(("teacher", "teacher2"), teachers, strict=False))
        found["phase"] = "segment" if isinstance(pl_module, SegmentationModule) else "distill"
    if isinstance(pl_module, SegmentationModule):
        found["distill"] = _first_phase(pl_module)
    if (data := data_of(trainer)) is not None:
        found["data"] = {name: getattr(data, name) for name in _DATA}
        found["data"]["image_size"] = list(data.image_size)
        found["data"]["synthesis"] = data.stream_options().to_dict()["synthesis"]
    return found


def threshold_figures(calibration: Calibration) -> dict[str, float]:
    """The thresholds, and what was measured with them on held-out images, as figures to log."""
    values = asdict(calibration)
    return {
        f"thresholds/{name.removesuffix('_threshold')}": float(values[name])
        for name in _THRESHOLDS
        if values[name] is not None
    }


def _first_phase(module: SegmentationModule) -> dict[str, Any]:
    """The options of the distillation, as its checkpoint has them; none if that is gone."""
    path = module.hparams.get("distilled")
    if path is None or not expanded(path).is_file():
        return {}
    header = read_header(path)
    options = {
        name: value for name, value in header.hyper_parameters.items() if value != STORED_WEIGHTS
    }
    return options | {"steps": header.global_step, "precision": header.precision}
