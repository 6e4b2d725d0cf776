"""Thresholds from the scores of normal images, without any defect and without the test set.

An image is anomalous when its score exceeds the threshold t. Of n normal scores in ascending order, the
k-th, k = ceil((n + 1)(1 - r)), is exceeded by a further normal image with a probability of at most r:
split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005, section 2.2). Fewer
than 1/r - 1 images cannot support the rate r; then the largest score is taken, which a further normal
image exceeds with a probability of 1/(n + 1), and that rate is told as the one to be expected.

Pixels are many, so that their threshold is the plain quantile, counted exactly by `PixelMetrics`' state.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from padseg.errors import ConfigError
from padseg.metrics import functional
from padseg.metrics.image import ImageMetrics
from padseg.metrics.pixel import PixelMetrics
from padseg.metrics.score_counts import key_scores

_LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)


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

    def compute(self) -> dict[str, Any] | None:
        """Choose the thresholds.

        Returns:
            Plain, finite values; None without a normal image.

            - `image_threshold`, `pixel_threshold`: [0, 1]; what exceeds them is anomalous.
            - `false_alarm_rate`, `pixel_rate`: as asked for.
            - `expected_false_alarm_rate`: of further normal images, at most; higher than asked for where
              the images are too few.
            - `normal_images`, `synthetic_defects`: how many images it comes from.
            - `image_recall`, `pixel_recall`: share of the synthetic defects that is found; None without.
            - `image_quantiles`, `pixel_quantiles`: the distribution of the scores of normal images, as
              pairs of level and score.
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
        return {
            "image_threshold": image_threshold,
            "pixel_threshold": pixel_threshold,
            "false_alarm_rate": self.false_alarm_rate,
            "pixel_rate": self.pixel_rate,
            "expected_false_alarm_rate": (count + 1 - rank) / (count + 1),
            "normal_images": count,
            "synthetic_defects": len(defect),
            "image_recall": image_recall,
            "pixel_recall": pixel_recall,
            "image_quantiles": [
                [level, float(np.quantile(normal, level, method="inverted_cdf"))]
                for level in _LEVELS
            ],
            "pixel_quantiles": [[level, _quantile(score, above, level)] for level in _LEVELS],
        }


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
