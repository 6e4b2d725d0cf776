"""Figures and options under the names by which Weights & Biases groups them."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger

from padseg.metrics.further import FURTHER
from padseg.metrics.names import METRIC_KEYS
from padseg.modules import AnomalyModule, SegmentationModule

_OTHERS = {"epoch": "trainer/epoch", "layer_scale": "train/layer_scale"}


class SectionedWandbLogger(WandbLogger):
    """Lightning's logger, with sections in the names of figures, and flat options.

    W&B shows a panel for each section: `train/` with losses and rates, `val/` and `test/` with the
    metrics, `thresholds/`. The figures of a student that is only the first of two phases are in
    `test-distill/`, apart from those of the finished system.

    Attributes:
        test_section: Section of test figures.
    """

    test_section = "test"

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures, whose names get their sections."""
        super().log_metrics({self._in_section(key): value for key, value in metrics.items()}, step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log options by name, such as `data.batch_size`; those left to the system are left out."""
        given = vars(params) if isinstance(params, Namespace) else params
        super().log_hyperparams(dict(flat(given)))

    def _in_section(self, key: str) -> str:
        room, _, name = key.partition("_")
        if room in ("val", "train") and name:
            return f"{room}/{name}"
        if key.startswith("lr-"):
            return f"train/{key}"
        if key in METRIC_KEYS or key in FURTHER or key.startswith(("iap", "pro", "spro")):
            return f"{self.test_section}/{key}"
        return _OTHERS.get(key, key)


def wandb_loggers(trainer: Trainer) -> list[WandbLogger]:
    """The W&B loggers of a Trainer."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def section(module: object, stage: str) -> str:
    """The section of an evaluation, `val` or `test`."""
    if stage == "test" and isinstance(module, AnomalyModule) and not is_final(module):
        return "test-distill"
    return stage


def is_final(module: AnomalyModule) -> bool:
    """Whether the module is the last phase of its system."""
    return isinstance(module, SegmentationModule) or not module.parts.segmentation


def flat(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Nested options by name, with dots; None, which stands for the system's own, is left out."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in flat(value))
        elif value is not None:
            yield name, value
