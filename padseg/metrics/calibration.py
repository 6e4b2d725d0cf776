"""Thresholds from the scores of normal images, without defects and without the test set.

An image is anomalous if its score exceeds the threshold. Sort the scores of n normal images in ascending
order. A further normal image exceeds the k-th score, k = ceil((n + 1)(1 - r)), with a probability of at
most r: split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005, section
2.2). Fewer than 1/r - 1 images cannot support the rate r. In that case the threshold is the highest
score, which a further normal image exceeds with a probability of 1/(n + 1); this is reported as the
expected rate.

There are so many pixels that their threshold is a plain quantile, counted exactly by the state of
`PixelMetrics`.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from padseg.errors import ConfigError, count
from padseg.metrics import functional
from padseg.metrics.image import ImageMetrics
from padseg.metrics.pixel import PixelMetrics
from padseg.metrics.score_counts import key_scores
from padseg.metrics.score_scale import TYPICAL_IMAGE, TYPICAL_PIXEL, ScoreScale, normal_spread
from padseg.options import as_stored

_log = logging.getLogger(__name__)
_LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)
Quantiles = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Calibration:
    """Thresholds from normal images, and where they come from.

    Anomalous is what lies strictly above its threshold.

    Attributes:
        image_threshold: In [0, 1]; an image whose score exceeds it is anomalous.
        pixel_threshold: In [0, 1]; a pixel whose score exceeds it is anomalous.
        false_alarm_rate: Requested share of normal images that may be called anomalous, (0, 1).
        pixel_rate: Requested share of their pixels that may be called anomalous, (0, 1).
        expected_false_alarm_rate: Largest expected share of further normal images that are called
            anomalous; above `false_alarm_rate` if there were too few images.
        normal_images: Number of normal images that were scored.
        synthetic_defects: Number of images with synthetic defects that were scored.
        image_recall: Share of the synthetic defects whose image is anomalous, [0, 1]; None without any.
        pixel_recall: Share of their pixels that is anomalous, [0, 1]; None without any.
        image_quantiles: Distribution of the scores of normal images, as pairs of level and score.
        pixel_quantiles: Distribution of the scores of their pixels, likewise.
        precision: Precision of the network that computed the scores, such as `32-true`; None if unknown.
        tile: Side in pixels of the tiles that were scored; None for whole images.
        image_spread: Spread of the scores of normal images, for `image_scale`; None to take it from the
            quantiles, as for calibrations of early versions.
        pixel_spread: Spread of the scores of their pixels, likewise.
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
    image_spread: float | None = None
    pixel_spread: float | None = None

    @property
    def image_scale(self) -> ScoreScale:
        """Normalises image scores: the threshold is 0.5."""
        typical = normal_spread(self.image_threshold, self.image_quantiles, TYPICAL_IMAGE)
        return ScoreScale(self.image_threshold, self.image_spread or typical)

    @property
    def pixel_scale(self) -> ScoreScale:
        """Normalises score maps: the threshold is 0.5."""
        typical = normal_spread(self.pixel_threshold, self.pixel_quantiles, TYPICAL_PIXEL)
        return ScoreScale(self.pixel_threshold, self.pixel_spread or typical)

    @property
    def supports_rate(self) -> bool:
        """Whether there were enough normal images for the requested rate."""
        return self.expected_false_alarm_rate <= self.false_alarm_rate * (1 + 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and JSON files."""
        values: dict[str, Any] = as_stored(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Read what `to_dict` wrote, ignoring values of later versions of padseg.

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
            number of normal and of defect pixels with that score or a higher one. No score exceeds
            `highest` (), which is above the first `score` if the scores lost their lowest bits.
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
    """Collects the scores of normal images and of synthetic defects, and chooses the thresholds.

    Memory grows by only a few bytes per image. Processes synchronise in `compute`.

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
        """Move to the device of the scores."""
        for metric in (self._images, self._normal, self._synthetic):
            metric.to(device)

    def update(self, scores: dict[str, Tensor], mask: Tensor, label: Tensor) -> None:
        """Count a batch.

        Args:
            scores: The output of a module: `score_map` (B, 1, H, W) and `image_score` (B,).
            mask: (B, 1, H, W), 1 on synthetic defects.
            label: Bool (B,), whether the image has a synthetic defect.
        """
        score_map = scores["score_map"]
        self._images.update(scores["image_score"].float(), label)
        self._normal.update(score_map[~label], mask[~label], mask[~label].int())
        self._synthetic.update(score_map[label], mask[label], mask[label].int())

    def compute(self, precision: str, tile: int | None = None) -> Calibration | None:
        """Choose the thresholds.

        Args:
            precision: Precision of the network that computed the scores.
            tile: Side in pixels of the tiles that were scored; None for whole images.

        Returns:
            Finite values; None without normal images.
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
        pixel_threshold = quantile_threshold(score, above, self.pixel_rate, highest)
        image_recall = pixel_recall = None
        if len(defect):
            image_recall = float((defect > image_threshold).mean())
            painted = self._synthetic.compute()
            score_there, found = (np.atleast_1d(painted[name]) for name in ("score", "defect"))
            place = int((score_there > pixel_threshold).sum())
            pixel_recall = float(found[place - 1] / found[-1]) if place else 0.0
        image_quantiles = tuple(
            (level, float(np.quantile(normal, level, method="inverted_cdf"))) for level in _LEVELS
        )
        pixel_quantiles = tuple((level, _quantile(score, above, level)) for level in _LEVELS)
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
            image_quantiles=image_quantiles,
            pixel_quantiles=pixel_quantiles,
            precision=precision,
            tile=tile,
            image_spread=normal_spread(image_threshold, image_quantiles, TYPICAL_IMAGE),
            pixel_spread=normal_spread(pixel_threshold, pixel_quantiles, TYPICAL_PIXEL),
        )


def warn_of_few_images(calibration: Calibration) -> None:
    """Warn if there are too few images for the requested rate."""
    if not calibration.supports_rate:
        _log.warning(
            "%s a false-alarm rate of %.1f %%, not %.2g %%: the image threshold is the largest normal "
            "score; padseg calibrate takes more images.",
            count(calibration.normal_images, "normal image supports", "normal images support"),
            100 * calibration.expected_false_alarm_rate,
            100 * calibration.false_alarm_rate,
        )


def conformal_rank(count: int, rate: float) -> int:
    """The rank of the score that a further one exceeds with a probability of at most `rate`.

    Returns:
        Its place among `count` ascending scores, from 1; `count` + 1 if there is none.
    """
    # The small term prevents 0.99 * 100 = 99.000...001 from being rounded up to 100.
    return max(1, math.ceil((count + 1) * (1 - rate) - 1e-9))


def quantile_threshold(score: Any, above: Any, rate: float, highest: float) -> float:
    """The lowest float32 number that at most a given share of all scores exceeds.

    Args:
        score: (K,), distinct scores, descending.
        above: (K,), number of scores that are that high or higher.
        rate: The share.
        highest: A number that no score exceeds.
    """
    kept = int((above <= rate * above[-1]).sum())
    if not kept:
        return highest
    # That score and all higher ones exceed the float32 number just below it, even if the scores in
    # between lost their lowest bits. Any number down to the next score has the same effect.
    return max(float(np.nextafter(np.float32(score[kept - 1]), np.float32(-1))), 0.0)


def _quantile(score: Any, above: Any, level: float) -> float:
    """The lowest score that at least the share `level` of all scores does not exceed."""
    exceeding = np.concatenate([[0.0], above[:-1]])
    return float(score[int((exceeding <= (1 - level) * above[-1]).sum()) - 1])
