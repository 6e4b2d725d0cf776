"""Metrics that evaluations report beside those of `PixelMetrics` and `ImageMetrics`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torchmetrics import Metric

from padseg.errors import ConfigError
from padseg.metrics.aupimo import AUPIMO
from padseg.metrics.names import METRIC_KEYS
from padseg.options import one_of


@dataclass(frozen=True)
class FurtherMetric:
    """One of these metrics.

    Attributes:
        build: creates the metric, which computes one scalar tensor.
        level: its input: "pixel" for score maps (B, 1, H, W) float32 in [0, 1] and masks
            (B, 1, H, W) uint8; or "image", image scores (B,) float32 and labels (B,) bool, true for a
            defect.
    """

    build: Callable[[], Metric]
    level: Literal["pixel", "image"]


# The last is of validations: the mean of the score maps.
_TAKEN = (*METRIC_KEYS, "pro5", "spro5", "score_map")
FURTHER: dict[str, FurtherMetric] = {"aupimo": FurtherMetric(AUPIMO, "pixel")}


def register(name: str, build: Callable[[], Metric], level: Literal["pixel", "image"]) -> None:
    """Add a metric to validation (as `val_<name>`) and test; it replaces one of the same name.

    It can be any torchmetrics metric of binary scores, such as `BinaryJaccardIndex` with "pixel".

    Args:
        name: name of the metric.
        build: see FurtherMetric.
        level: see FurtherMetric.

    Raises:
        ConfigError: the level is unknown, or the name is that of another figure.
    """
    one_of("level", level, ("pixel", "image"))
    if name in _TAKEN:
        raise ConfigError(
            f"{name!r} is a figure of every evaluation: register your metric under another name."
        )
    FURTHER[name] = FurtherMetric(build, level)
