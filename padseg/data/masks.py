"""Masks: the pixels of a mask file that mark a defect."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from padseg.data.depth import is_white_zero
from padseg.data.images import Size, open_image, resize

_FAINT = 0.1  # of a mask's largest value; lower values are artefacts of compression
_NOISE = 0.02  # likewise, in masks with so few values that none comes from lossy compression
_FEW = 8  # values
_KINDS = 32  # a mask with smaller values only: these number the kinds of defect
_EDGES = 0.95  # share of marked pixels at the edges of an inverted mask
_RINGING = 9  # pixels that JPEG compression leaves in one place beside an edge, at most
_SOLID = 7  # pixels, side of a dark square that no soft edge contains


def read_masks(paths: Sequence[Path], size: Size) -> NDArray[np.uint8]:
    """The masks of one image combined, resized bilinearly with antialiasing and cut at one half.

    The reduction is that of the published DeSTSeg evaluation, so that figures can be compared.

    Args:
        paths: The files, which are combined; none for an image without defects. See `mask_share` for which
            pixels of a file are marked.
        size: (H, W) in pixels.

    Returns:
        (H, W) uint8, 0 or 1.

    Raises:
        DataError: A file is missing, empty or not a whole image.
    """
    mask = np.zeros(size, np.uint8)
    for path in paths:
        share = Image.fromarray(mask_share(path))
        mask |= (np.asarray(resize(share, size)) >= 0.5).astype(np.uint8)
    return mask


def read_own_masks(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """The masks of one image combined, at their own size.

    Args:
        paths: The files, at least one, of one size.

    Returns:
        (H, W) uint8, 0 or 1.

    Raises:
        DataError: As `read_masks`.
    """
    marked = [mask_share(path) >= 0.5 for path in paths]
    mask: NDArray[np.uint8] = np.logical_or.reduce(marked).astype(np.uint8)
    return mask


def is_empty_mask(path: Path) -> bool:
    """Whether a mask marks no pixel at its own size.

    Raises:
        DataError: As `read_masks`.
    """
    return not (mask_share(path) >= 0.5).any()


def mask_share(path: Path) -> NDArray[np.float32]:
    """How much each pixel of a mask file is marked, (H, W) float32; a defect from 0.5 up.

    Grey images have 0 for normal. Their values are relative to the largest, because masks of 0/1, 0/255
    and 0/65535 occur, unless they number kinds or instances of defects: then any value but 0 is a defect.
    They do if all are below 32, as in VisA, or if dark values are regions of their own, and not the soft
    edges of brighter ones. In colour images the brightest channel counts, in palette images every colour
    but black. Transparent pixels are normal.

    Raises:
        DataError: As `read_masks`.
    """
    return open_image(path, _share)


def has_white_background(path: Path) -> bool:
    """Whether a mask marks its edges and has more than one value or colour, as an inverted mask does.

    Raises:
        DataError: As `read_masks`.
    """
    return open_image(path, _has_white_background)


def _has_white_background(mask: Image.Image) -> bool:
    marked = _share(mask) >= 0.5
    edges = np.concatenate([marked[0], marked[-1], marked[1:-1, 0], marked[1:-1, -1]])
    darkest, brightest = mask.convert("RGB").convert("L").getextrema()
    varies = not marked.all() or darkest != brightest
    return varies and bool(edges.mean() >= _EDGES)


def has_dark_regions(share: NDArray[np.float32]) -> bool:
    """Whether a mask, see `mask_share`, has regions darker than half of its brightest one, which count as normal.

    Soft edges and JPEG artefacts beside an edge do not count as regions.
    """
    visible = share >= _FAINT
    if not (visible & (share < 0.5)).any():
        return False
    count, regions, statistics, _ = cv2.connectedComponentsWithStats(visible.astype(np.uint8))
    brightest = np.zeros(count, np.float32)
    np.maximum.at(brightest, np.asarray(regions, dtype=np.intp), share)
    if ((brightest < 0.5) & (statistics[:, cv2.CC_STAT_AREA] > _RINGING))[1:].any():
        return True
    square = np.ones((_SOLID, _SOLID), np.uint8)
    return bool(((cv2.erode(share, square) >= _FAINT) & (cv2.dilate(share, square) < 0.5)).any())


def _share(mask: Image.Image) -> NDArray[np.float32]:
    palette = mask.mode in ("P", "PA")
    if palette or ("transparency" in mask.info and mask.mode in ("1", "L", "RGB")):
        mask = mask.convert("RGBA")
    if palette:  # only black or not black matters
        colour, alpha = np.split(np.asarray(mask), [3], axis=2)
        return np.array((colour.max(axis=2) > 0) * (alpha[..., 0] / 255), dtype=np.float32)
    if mask.mode in ("1", "L", "LA", "F") or mask.mode.startswith("I"):
        grey = np.array(mask.convert("L") if mask.mode == "LA" else mask, dtype=np.float32)
        if is_white_zero(mask):
            grey = grey.max() - grey
    else:  # the brightest channel, because in grey a blue defect beside a white one would be too dark
        grey = np.asarray(mask.convert("RGB")).max(axis=2).astype(np.float32)
    if mask.mode in ("LA", "RGBA"):  # transparent pixels of an image editor are not marked
        grey *= np.asarray(mask.getchannel("A"), dtype=np.float32) / 255
    peak = float(grey.max())
    if (peak < _KINDS and mask.mode != "F") or _numbers_defects(grey, peak):
        return (grey > 0).astype(np.float32)
    grey /= max(peak, 1e-6)
    return grey


def _numbers_defects(grey: NDArray[np.float32], peak: float) -> bool:
    """Whether the values of a mask number its defects, so that dark ones are defects too.

    A pixel of a soft edge has a brighter neighbour; most pixels of a numbered region have none. The noise of
    JPEG has none either, but is nowhere flat and has many values.
    """
    dark = (grey > _NOISE * peak) & (grey < 0.5 * peak)
    noise = (grey > 0) & (grey <= _NOISE * peak)
    if not dark.any():
        return False
    lossy = 5 * np.count_nonzero(noise) > np.count_nonzero(dark) and len(np.unique(grey[noise])) > 2
    if len(np.unique(grey)) - 1 > _FEW:
        dark &= grey >= _FAINT * peak
    square = np.ones((3, 3), np.uint8)
    own = cv2.dilate(grey, square) == (cv2.erode(grey, square) if lossy else grey)
    return bool(2 * np.count_nonzero(dark & own) > np.count_nonzero(dark))
