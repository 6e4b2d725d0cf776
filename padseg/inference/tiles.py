"""Large images in overlapping tiles, whose score maps are blended so that there are no seams."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.25  # minimum overlap of neighbouring tiles, as a share of a tile


class Box(NamedTuple):
    """A part of an image in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def tile_boxes(height: int, width: int, tile: int | None) -> list[Box]:
    """Cover an image with tiles of some side, row by row; None for the whole image.

    Returns:
        Tiles of one size, spread evenly, with the outer ones at the border; a single box if the image
        fits. A side that is shorter than a tile is covered completely.
    """
    if tile is None:
        return [Box(0, 0, width, height)]
    rows, columns = _starts(height, tile), _starts(width, tile)
    return [
        Box(left, top, min(left + tile, width), min(top + tile, height))
        for top in rows
        for left in columns
    ]


def _starts(length: int, tile: int) -> list[int]:
    if length <= tile:
        return [0]
    steps = -(-(length - tile) // max(1, int(tile * (1 - OVERLAP))))
    return [round(index * (length - tile) / steps) for index in range(steps + 1)]


class Blend:
    """The score map of an image, from those of its tiles.

    Each pixel is the mean over the tiles that cover it, weighted by a pyramid: 1 in the middle of a
    tile's side and nearly 0 at its border.
    """

    def __init__(self, height: int, width: int) -> None:
        self._sum, self._weight = (np.zeros((height, width), np.float32) for _ in range(2))

    def add(self, box: Box, score_map: NDArray[np.float32]) -> None:
        """Add the map of one tile, at the size of its box."""
        weight = np.outer(_ramp(score_map.shape[0]), _ramp(score_map.shape[1]))
        place = np.s_[box.top : box.bottom, box.left : box.right]
        self._sum[place] += weight * score_map
        self._weight[place] += weight

    def result(self) -> NDArray[np.float32]:
        """(H, W) float32, once all tiles are there."""
        return np.divide(self._sum, self._weight, out=self._sum)


def _ramp(length: int) -> NDArray[np.float32]:
    at = np.arange(length)
    steps = np.minimum(at, length - 1 - at) + 1
    ramp: NDArray[np.float32] = (steps / steps.max()).astype(np.float32)
    return ramp
