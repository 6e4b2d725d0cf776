"""Masks: the pixels of a mask file that mark a defect."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from padseg.data.images import Size, open_image, resize

_FAINT = 0.1  # of a mask's largest value; lower values are artefacts of compression
_KINDS = 32  # a mask with smaller values only: these number the kinds of defect


def read_masks(paths: Sequence[Path], size: Size) -> NDArray[np.uint8]:
    """The masks of one image combined, resized bilinearly with antialiasing and cut at one half.

    The reduction is that of the published DeSTSeg evaluation, so that figures can be compared.

    Args:
        paths: The files, which are combined; none for an image without defects. Grey images have 0 for normal and
            one value for a defect; where a file has several values, those from half of the largest up mark
            a defect, unless they are the numbers 1 to 31 of kinds of defect, as in VisA. In colour images
            the brightest channel counts, in palette images every colour but black. Transparent pixels are
            normal.
        size: (H, W) in pixels.

    Returns:
        (H, W) uint8, 0 or 1.

    Raises:
        DataError: A file is missing, empty or not a whole image.
    """
    mask = np.zeros(size, np.uint8)
    for path in paths:
        share = Image.fromarray(open_image(path, _defect_share))
        mask |= (np.asarray(resize(share, size)) >= 0.5).astype(np.uint8)
    return mask


def is_empty_mask(path: Path) -> bool:
    """Whether a mask marks no pixel at its own size.

    Raises:
        DataError: The file is missing, empty or not a whole image.
    """
    return not (open_image(path, _defect_share) >= 0.5).any()


def has_dark_regions(path: Path) -> bool:
    """Whether a mask has a region darker than half of its brightest one, which counts as normal.

    Soft edges and JPEG artefacts beside an edge do not count as regions.

    Raises:
        DataError: The file is missing, empty or not a whole image.
    """
    share = open_image(path, _defect_share)
    count, regions = cv2.connectedComponents((share >= _FAINT).astype(np.uint8))
    brightest = np.zeros(count, np.float32)
    np.maximum.at(brightest, np.asarray(regions, dtype=np.intp), share)
    return bool((brightest[1:] < 0.5).any())


def _defect_share(mask: Image.Image) -> NDArray[np.float32]:
    """(H, W) in [0, 1], relative to the largest value, because masks of 0/1, 0/255 and 0/65535 occur."""
    palette = mask.mode in ("P", "PA")
    if palette or ("transparency" in mask.info and mask.mode in ("1", "L", "RGB")):
        mask = mask.convert("RGBA")
    if palette:  # only black or not black matters
        colour, alpha = np.split(np.asarray(mask), [3], axis=2)
        return np.array((colour.max(axis=2) > 0) * (alpha[..., 0] / 255), dtype=np.float32)
    if mask.mode in ("1", "L", "LA", "F") or mask.mode.startswith("I"):
        grey = np.array(mask.convert("L") if mask.mode == "LA" else mask, dtype=np.float32)
    else:  # the brightest channel, because in grey a blue defect beside a white one would be too dark
        grey = np.asarray(mask.convert("RGB")).max(axis=2).astype(np.float32)
    if mask.mode in ("LA", "RGBA"):  # transparent pixels of an image editor are not marked
        grey *= np.asarray(mask.getchannel("A"), dtype=np.float32) / 255
    peak = float(grey.max())
    if peak < _KINDS and mask.mode != "F":
        return (grey > 0).astype(np.float32)
    grey /= max(peak, 1e-6)
    return grey
