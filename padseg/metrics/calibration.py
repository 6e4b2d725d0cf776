"""Thresholds from the scores of normal images, without any defect and without the test set.

An image is anomalous when its score exceeds the threshold t. Of n normal scores in ascending order, the
k-th, k = ceil((n + 1)(1 - r)), is exceeded by a further normal image with a probability of at most r:
split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005, section 2.2). Fewer
than 1/r - 1 images cannot support the rate r; then the largest score is taken, which a further normal
image exceeds with a probability of 1/(n + 1), and that rate is reported as the expected one.

Pixels are many, so that their threshold is the plain quantile, counted exactly by `PixelMetrics`' state.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from padseg.errors import ConfigError
from padseg.metrics import functional
from padseg.metrics.image import ImageMetrics
from padseg.metrics.pixel import PixelMetrics
from padseg.metrics.score_counts import key_scores

_LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)
Quantiles = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Calibration:
    """Thresholds from normal images, and how they came about.

    Scores become verdicts here and nowhere else. A network that is exported compares with
    `image_threshold` itself.

    Attributes:
        image_threshold: In [0, 1]; an image whose score exceeds it is anomalous.
        pixel_threshold: In [0, 1]; a pixel whose score exceeds it is anomalous.
        false_alarm_rate: Share of normal images that may be called anomalous, as asked for, (0, 1).
        pixel_rate: The same of the pixels of normal images, (0, 1).
        expected_false_alarm_rate: Share of further normal images that are called anomalous, at most;
            above `false_alarm_rate` where the images were too few for that.
        normal_images: How many normal images were scored.
        synthetic_defects: How many images with a synthetic defect were scored.
        image_recall: Share of the synthetic defects whose image is anomalous, [0, 1]; None without any.
        pixel_recall: Share of their pixels that is anomalous, [0, 1]; None without any.
        image_quantiles: Distribution of the scores of normal images: pairs of level and score.
        pixel_quantiles: The same of their pixels.
        precision: Of the network that gave the scores, such as `32-true`; None where it is not known.
        tile: Side in pixels of the tiles that were scored; None for whole images.
    """

    image_threshold: float
    pixel_threshold: float
    false_alarm_rate: float
    pixel_rate: float
    expected_false_alarm_rate: float
    normal_images: int
    synthetic_defects: int = 0
    image_recall: float | None = None
    pixel_recall: float | None = None
    image_quantiles: Quantiles = ()
    pixel_quantiles: Quantiles = ()
    precision: str | None = None
    tile: int | None = None

    def is_anomalous(self, image_score: float) -> bool:
        """The verdict on an image."""
        return image_score > self.image_threshold

    def anomalous_pixels(self, score_map: NDArray[np.float32]) -> NDArray[np.bool_]:
        """The verdict on each pixel.

        Args:
            score_map: Of any shape, in [0, 1].
        """
        return score_map > self.pixel_threshold

    @property
    def supports_rate(self) -> bool:
        """Whether the normal images were enough for the rate that was asked for."""
        return self.expected_false_alarm_rate <= self.false_alarm_rate * (1 + 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as checkpoints and JSON files hold them."""
        lists = {
            name: [list(pair) for pair in getattr(self, name)]
            for name in ("image_quantiles", "pixel_quantiles")
        }
        return asdict(self) | lists

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Read what `to_dict` wrote; values that only a later padseg knows are left out.

        Raises:
            TypeError: A value is missing.
        """
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        for name in ("image_quantiles", "pixel_quantiles"):
            known[name] = tuple((level, score) for level, score in known.get(name, ()))
        return cls(**known)


class PixelScores(PixelMetrics):
    """The scores of all pixels, from the bounded state of `PixelMetrics`."""

    def compute(self) -> dict[str, Tensor]:
        """Return the distinct scores with what lies at or above each.

        Returns:
            Float64 (K,) on the CPU, from the highest score down: `score`; `normal` and `defect`, the
            number of normal and of defect pixels with that score or a higher one. `highest` () is what
            no score exceeds; more than the first `score` where the scores lost their lowest bits.
        """
        self.check_values()
        counts = self._all_counts()
        ranking = functional.rank(counts)
        highest = key_scores(counts.keys[-1:] | ((1 << counts.shift) - 1)).double().sum()
        columns = {"score": ranking.threshold, "normal": ranking.fp, "defect": ranking.tp}
        return {
            "highest": highest,
            **{name: torch.from_numpy(column.copy()) for name, column in columns.items()},
        }


class ImageScores(ImageMetrics):
    """The scores of all images."""

    def compute(self) -> dict[str, Tensor]:
        """Return `normal` and `defect`, float32 (N,) on the CPU, ascending."""
        scores, labels = key_scores(dim_zero_cat(self.keys)).cpu(), dim_zero_cat(self.labels).cpu()
        return {"normal": scores[~labels].sort().values, "defect": scores[labels].sort().values}


class Calibrator:
    """Collects scores of normal images, and of synthetic defects, and chooses the thresholds.

    Memory does not grow with the number of images beyond some bytes each; processes meet in `compute`.

    Args:
        false_alarm_rate: Share of normal images that may be called anomalous, (0, 1).
        pixel_rate: Share of the pixels of normal images that may be called anomalous, (0, 1).

    Raises:
        ConfigError: A rate is outside its range.
    """

    def __init__(self, false_alarm_rate: float = 0.01, pixel_rate: float = 0.001) -> None:
        for name, rate in (("false_alarm_rate", false_alarm_rate), ("pixel_rate", pixel_rate)):
            if not 0 < rate < 1:
                raise ConfigError(f"{name} is {rate}; it must be above 0 and below 1.")
        self.false_alarm_rate = false_alarm_rate
        self.pixel_rate = pixel_rate
        self._images = ImageScores()
        self._normal = PixelScores()
        self._synthetic = PixelScores()

    def to(self, device: torch.device) -> None:
        """Move to the device that the scores come from."""
        for metric in (self._images, self._normal, self._synthetic):
            metric.to(device)

    def update(self, scores: dict[str, Tensor], mask: Tensor, label: Tensor) -> None:
        """Count a batch.

        Args:
            scores: What a module answers: `score_map` (B, 1, H, W) and `image_score` (B,).
            mask: (B, 1, H, W), 1 on a synthetic defect.
            label: Bool (B,), whether there is one.
        """
        score_map = scores["score_map"]
        self._images.update(scores["image_score"].float(), label)
        self._normal.update(score_map[~label], mask[~label], mask[~label].int())
        self._synthetic.update(score_map[label], mask[label], mask[label].int())

    def compute(self, precision: str, tile: int | None = None) -> Calibration | None:
        """Choose the thresholds.

        Args:
            precision: Of the network that gave the scores.
            tile: Side in pixels of the tiles that were scored; None for whole images.

        Returns:
            Finite values; None without a normal image.
        """
        images, pixels = self._images.compute(), self._normal.compute()
        normal, defect = (np.atleast_1d(images[name].numpy()) for name in ("normal", "defect"))
        count = len(normal)
        if not count:
            return None
        rank = min(conformal_rank(count, self.false_alarm_rate), count)
        image_threshold = float(normal[rank - 1])
        score, above = (np.atleast_1d(pixels[name].numpy()) for name in ("score", "normal"))
        highest = min(float(pixels["highest"]), 1.0)
        pixel_threshold = exceeded_by(score, above, self.pixel_rate, highest)
        image_recall = pixel_recall = None
        if len(defect):
            image_recall = float((defect > image_threshold).mean())
            painted = self._synthetic.compute()
            score_there, found = (np.atleast_1d(painted[name]) for name in ("score", "defect"))
            place = int((score_there > pixel_threshold).sum())
            pixel_recall = float(found[place - 1] / found[-1]) if place else 0.0
        return Calibration(
            image_threshold=image_threshold,
            pixel_threshold=pixel_threshold,
            false_alarm_rate=self.false_alarm_rate,
            pixel_rate=self.pixel_rate,
            expected_false_alarm_rate=(count + 1 - rank) / (count + 1),
            normal_images=count,
            synthetic_defects=len(defect),
            image_recall=image_recall,
            pixel_recall=pixel_recall,
            image_quantiles=tuple(
                (level, float(np.quantile(normal, level, method="inverted_cdf")))
                for level in _LEVELS
            ),
            pixel_quantiles=tuple((level, _quantile(score, above, level)) for level in _LEVELS),
            precision=precision,
            tile=tile,
        )


def conformal_rank(count: int, rate: float) -> int:
    """Which of `count` ascending scores a further one exceeds with a probability of at most `rate`.

    Returns:
        From 1 up; `count` + 1 where none does.
    """
    # The small term keeps 0.99 * 100 = 99.000...001 from asking for one score more.
    return max(1, math.ceil((count + 1) * (1 - rate) - 1e-9))


def exceeded_by(score: Any, above: Any, rate: float, highest: float) -> float:
    """The lowest number that at most a share of all scores exceeds, as a float32 value.

    Args:
        score: (K,), distinct scores, descending.
        above: (K,), how many are that high or higher.
        rate: The share.
        highest: What no score exceeds.
    """
    kept = int((above <= rate * above[-1]).sum())
    if not kept:
        return highest
    # What exceeds the float32 number just below a score is that score and all above it, also where
    # the scores in between lost their lowest bits. Any number down to the next score does the same.
    return max(float(np.nextafter(np.float32(score[kept - 1]), np.float32(-1))), 0.0)


def _quantile(score: Any, above: Any, level: float) -> float:
    """The lowest score that at least the share `level` of all does not exceed."""
    exceeding = np.concatenate([[0.0], above[:-1]])
    return float(score[int((exceeding <= (1 - level) * above[-1]).sum()) - 1])
