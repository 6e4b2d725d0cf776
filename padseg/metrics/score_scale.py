"""Normalised scores: the threshold at 0.5, typical normal images below 0.25, certain defects near 1.

Systems differ in the range of their scores by orders of magnitude. The normalised score can be read without
knowing the system: 0.5 is the limit. It has the same order as the raw score, so that no metric and no
verdict changes.

With threshold t, spread w and the room between the threshold and the end of the range, r = 1 - t above it
and r = t below it, a raw score at the distance d from the threshold gets

    0.5 +- 0.5 d / (w + (1 - w / r) d)

which is 0 for raw 0, 0.5 for t and 1 for raw 1. Near the threshold, it changes by half a unit a spread;
further away, more and more slowly. The spread is the distance from the threshold down to a typical normal
score, so the scale is the system's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# Levels of the quantiles of normal scores that count as typical. Most pixels of most normal images have
# scores close to 0, so their median would say nothing about those near the threshold.
TYPICAL_IMAGE, TYPICAL_PIXEL = 0.5, 0.95
_LEAST = 0.01  # spread in thresholds, below which a rounding would move the normalised score
_TINY = 1e-6
Scores = TypeVar("Scores", NDArray[np.floating], Tensor)


@dataclass(frozen=True)
class ScoreScale:
    """Turns raw scores into normalised ones.

    Attributes:
        threshold: The raw score at 0.5, in [0, 1].
        spread: Distance from the threshold down to a typical normal score, above 0.
    """

    threshold: float
    spread: float

    def __call__(self, score: float) -> float:
        """The normalised score, in [0, 1]; it increases strictly with the raw one, in [0, 1]."""
        return float(self.of(np.array([score], dtype=np.float64))[0])

    def raw(self, level: float) -> float:
        """The raw score of a normalised one, in [0, 1]; the threshold itself for 0.5."""
        if level == 0.5:
            return self.threshold
        if level > 0.5:
            spread, bend = _shape(self.spread, 1 - self.threshold)
            above = 2 * (level - 0.5)
            return min(self.threshold + above * spread / (1 - bend * above), 1.0)
        if self.threshold < _TINY:
            return 0.0
        spread, bend = _shape(self.spread, self.threshold)
        below = 2 * level * self.threshold
        return below * (spread + bend * self.threshold) / (spread + bend * below)

    def of(self, scores: Scores) -> Scores:
        """The normalised scores of an array or a tensor of any shape."""
        # Without a branch on the scores, so that exporters follow it.
        threshold = self.threshold
        above = (scores - threshold).clip(min=0)
        spread, bend = _shape(self.spread, 1 - threshold)
        upper = 0.5 * above / (spread + bend * above)
        if threshold < _TINY:
            return upper + 0.5
        # The formula without its difference of almost equal numbers near 0.
        below = (threshold - scores).clip(min=0)
        spread, bend = _shape(self.spread, threshold)
        share = scores.clip(max=threshold) / threshold
        lower = 0.5 * share * (spread / (spread + bend * below))
        return (upper + lower).clip(0, 1)  # roundings may lead out of the range


def _shape(spread: float, room: float) -> tuple[float, float]:
    """The spread, which cannot exceed the room on a side of the threshold, and its complement to the room."""
    spread = max(min(spread, room), _TINY)
    return spread, max(1 - spread / max(room, _TINY), 0.0)


def normal_spread(
    threshold: float, quantiles: Iterable[tuple[float, float]], typical: float
) -> float:
    """The spread of normal scores below their threshold.

    Args:
        threshold: The threshold.
        quantiles: Distribution of the normal scores, as pairs of level and score.
        typical: The level of a typical score.

    Returns:
        The distance of that score from the threshold; half the threshold if it is unknown or not below it,
        as with a single image.
    """
    score = dict(quantiles).get(typical, threshold)
    spread = threshold - score if score < threshold else threshold / 2
    return max(spread, _LEAST * threshold, _TINY)
