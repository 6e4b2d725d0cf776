"""Contours around regions: two lines, a light one and a dark rim, which are visible on any image."""

import cv2
import numpy as np
from numpy.typing import NDArray

from padseg.drawing.heat import Pixels

_BAND = 2**22  # pixels
# Pixels of an image's longer side for each pixel of the line's width; and of the shorter side, so that
# lines do not cover narrow strips.
_LONG, _SHORT = 320, 64


def line_width(shape: tuple[int, ...]) -> int:
    """Width in pixels of the lines on an image of (H, W, ...), so that they are visible when it is shown whole."""
    return max(1, round(min(max(shape[:2]) / _LONG, min(shape[:2]) / _SHORT)))


def outline(image: Pixels, region: NDArray[np.bool_]) -> Pixels:
    """Draw the border of a region, (H, W), around it: white, with a black rim outside."""
    drawn = image.copy()
    width = line_width(image.shape)
    rows = max(1, _BAND // image.shape[1])
    for start in range(0, len(image), rows):  # distances of a whole scan would take gigabytes
        first = max(0, start - 2 * width - 1)
        near = region[first : start + rows + 2 * width + 1]
        if not near.any():
            continue
        distance = cv2.distanceTransform((~near).astype(np.uint8), cv2.DIST_L2, 5)
        distance = distance[start - first :][: len(drawn[start : start + rows])]
        band = drawn[start : start + rows]
        band[(distance > width + 0.5) & (distance < 2 * width + 0.5)] = 0
        band[(distance > 0) & (distance <= width + 0.5)] = 255
    return drawn
