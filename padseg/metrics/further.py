"""Figures that evaluations report besides padseg's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torchmetrics import Metric

from padseg.options import one_of


@dataclass(frozen=True)
class FurtherMetric:
    """A figure of a registered metric.

    Attributes:
        build: makes the metric, which computes one scalar tensor.
        level: what it is updated with: "pixel", score maps (B, 1, H, W) float32 in [0, 1] and masks
            (B, 1, H, W) uint8; or "image", image scores (B,) float32 and labels (B,) bool, true for a
            defect.
    """

    build: Callable[[], Metric]
    level: Literal["pixel", "image"]


FURTHER: dict[str, FurtherMetric] = {}


def register(name: str, build: Callable[[], Metric], level: Literal["pixel", "image"]) -> None:
    """Report a figure in validation (as `val_<name>`) and test; one of the same name is replaced.

    Any torchmetrics metric of binary scores will do, such as `BinaryJaccardIndex` with "pixel".

    Args:
        name: of the figure.
        build: see FurtherMetric.
        level: see FurtherMetric.

    Raises:
        ConfigError: the level is unknown.
    """
    one_of("level", level, ("pixel", "image"))
    FURTHER[name] = FurtherMetric(build, level)
