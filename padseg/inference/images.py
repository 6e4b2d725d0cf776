"""Opening whatever is given as an image: a file, Pillow's image or an array."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from padseg.data.depth import ALL_BITS, to_rgb
from padseg.data.images import image_shape
from padseg.data.images import open_rgb as open_file
from padseg.errors import DataError

MOST_PIXELS = 2**26
"""Total pixels of images that wait to be scored or written, unless a single one has more."""
Source = NDArray[np.uint8] | Image.Image | str | Path


def open_rgb(source: Source, bits: int = ALL_BITS) -> Image.Image:
    """An image as upright RGB.

    Args:
        source: Transparency is dropped.
        bits: Bits that the pixels of 16-bit images use; the upper eight of these are kept.

    Raises:
        DataError: It cannot be read, or its pixels are neither 8 nor 16 bits.
    """
    if isinstance(source, str | Path):
        return open_file(Path(source), bits)
    if isinstance(source, np.ndarray):
        grey = source.ndim == 2
        if source.dtype != np.uint8 or not (grey or (source.ndim == 3 and source.shape[2] == 3)):
            raise DataError(
                f"an array of {source.dtype} and shape {source.shape} is no image: give (H, W, 3) RGB "
                "or (H, W) grey, uint8."
            )
        if not source.size:
            raise DataError(f"an array of shape {source.shape} has no pixels.")
        source = Image.fromarray(source)
    try:
        return to_rgb(source, bits)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"image {source!r} cannot be read ({error}).") from error


def count_pixels(source: Source) -> int:
    """The pixels of an image; 0 if it cannot be read, which is reported when it is opened."""
    try:
        if isinstance(source, Image.Image):
            height, width = source.height, source.width
        else:
            shape = source.shape if isinstance(source, np.ndarray) else image_shape(Path(source))
            height, width = shape[:2]
    except (DataError, ValueError):
        return 0
    return height * width
