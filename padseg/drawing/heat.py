"""Colours of scores, the same for panels, detect, the report and W&B.

The colour of a pixel is that of its normalised score, with the pixel threshold in the middle, so that
the colours mean the same for systems whose scores differ by orders of magnitude. Over an image, only
pixels above the threshold are coloured. The colours are matplotlib's "plasma": its lightness rises
evenly, so that it can be read without colour vision, and its upper half, from magenta to yellow, is
rare in photographs of parts.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from padseg.metrics.score_scale import ScoreScale

Pixels = NDArray[np.uint8]  # (H, W, 3)

COLOURS: Pixels = np.ascontiguousarray(
    cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_PLASMA)[0, :, ::-1],
    dtype=np.uint8,
)
"""(256, 3), the colour of each level."""

_FAINTEST, _STRONGEST = 0.3, 0.7
_BAND = 2**22  # pixels


@dataclass(frozen=True)
class HeatScale:
    """How scores become levels from 0 to 1, for all images of an evaluation or a folder.

    Attributes:
        threshold: The pixel threshold, at level 0.5, in [0, 1]; None for a linear scale.
        top: Where there is no threshold, the score from which on the level is 1.
        spread: Spread of normal scores, see `ScoreScale`; None, where it is unknown, for half the threshold.
    """

    threshold: float | None
    top: float = 1.0
    spread: float | None = None

    @classmethod
    def of(cls, scale: ScoreScale) -> "HeatScale":
        """The scale whose levels are normalised scores."""
        return cls(scale.threshold, spread=scale.spread)

    def levels(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Levels in [0, 1] of scores in [0, 1], of the same shape."""
        if self.threshold is None:
            return np.asarray(np.clip(scores / max(self.top, 1e-12), 0, 1))
        spread = self.threshold / 2 if self.spread is None else self.spread
        return ScoreScale(self.threshold, spread).of(scores)


def opacities(scale: HeatScale) -> NDArray[np.float32]:
    """(256,), the opacity of each level over an image, in [0, 1]."""
    levels = np.linspace(0, 1, 256)
    if scale.threshold is None:
        return (_STRONGEST * levels).astype(np.float32)
    rising = _FAINTEST + (_STRONGEST - _FAINTEST) * (2 * levels - 1)
    return np.where(levels > 0.5, rising, 0).astype(np.float32)


def heatmap(score_map: NDArray[np.floating[Any]], scale: HeatScale) -> Pixels:
    """Colour a score map, (H, W): (H, W, 3) uint8."""
    return COLOURS[_rounded(scale.levels(score_map))]


def tint(image: Pixels, score_map: NDArray[np.floating[Any]], scale: HeatScale) -> Pixels:
    """Colour an image, (H, W, 3) uint8, where its score map, (H, W), exceeds the threshold.

    Without a threshold, the colour is more opaque the higher the score.
    """
    tinted = image.copy()
    opacity = opacities(scale)[:, None]
    rows = max(1, _BAND // image.shape[1])
    for start in range(0, len(image), rows):  # the floats of a whole scan would take gigabytes
        band = slice(start, start + rows)
        found = score_map[band] > (0 if scale.threshold is None else scale.threshold)
        if found.any():
            levels = _rounded(scale.levels(score_map[band][found]))
            if scale.threshold is not None:
                levels = np.maximum(levels, 128)
            share = opacity[levels]
            below = tinted[band][found]
            tinted[band][found] = (below * (1 - share) + COLOURS[levels] * share).round()
    return tinted


def _rounded(levels: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return (levels * 255).round().astype(np.uint8)
