"""Score maps as 16-bit grey pictures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 65535
"""The grey value of score 1; 0 is score 0."""


def to_grey(score_map: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Round scores to 16 bits.

    Args:
        score_map: Any shape, float32 in [0, 1]; values outside are clipped.

    Returns:
        uint16 of the same shape, off by at most 1/131070 of a score.
    """
    # NumPy would wrap values outside the range around.
    levels: NDArray[np.floating[Any]] = np.clip(score_map, 0, 1) * np.float32(LARGEST)
    return levels.round().astype(np.uint16)


def from_grey(grey: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Scores in [0, 1] of a 16-bit picture, float32 of the same shape."""
    return np.asarray(grey, dtype=np.float32) / np.float32(LARGEST)
