"""The orientation of images: Pillow decides, from EXIF or XMP, wherever in a file they are."""

import struct
from typing import Any

from PIL import ExifTags, Image, ImageOps, PngImagePlugin

_TURNED, _QUARTER_TURNED = range(2, 9), range(5, 9)  # the latter possibly mirrored
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_KEYWORDS = (b"Raw profile type exif", b"XML:com.adobe.xmp")


def upright(image: Image.Image) -> Image.Image:
    """An image turned upright according to its metadata; itself if it is upright."""
    image.load()  # PNG may have its metadata behind the pixels, and Pillow turns TIFF itself
    if _read_orientation(image) not in _TURNED:
        return image
    return ImageOps.exif_transpose(image)


def upright_shape(image: Image.Image) -> tuple[int, int]:
    """(H, W) of the upright image, from its header.

    The pixels are decoded only for a PNG with an orientation behind them.
    """
    stored = (image.height, image.width)
    # Pillow has already exchanged the sides of a TIFF, except if only XMP says so.
    known = ExifTags.Base.Orientation in getattr(image, "tag_v2", {})
    if known or _read_orientation(image) not in _QUARTER_TURNED:
        return stored
    return stored[::-1]


def _read_orientation(image: Image.Image) -> Any:
    """The orientation, 1 to 8 as in EXIF; broken files have other values, which mean upright."""
    try:
        if isinstance(image, PngImagePlugin.PngImageFile) and not _is_behind_pixels(image):
            exif = Image.Image.getexif(image)  # Pillow's own for PNG would decode every image
        else:
            exif = image.getexif()
    except (SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error):
        # Broken, so there is none, as in most viewers.
        return 1
    return exif.get(ExifTags.Base.Orientation, 1)


def _is_behind_pixels(image: PngImagePlugin.PngImageFile) -> bool:
    """Whether metadata that may hold an orientation follows the pixels of a PNG that is not decoded yet."""
    file = image.fp
    if file is None or not image.tile or "exif" in image.info:
        return False
    before, at, behind = file.tell(), 8, False
    try:
        while True:
            file.seek(at)
            head = file.read(8 + max(map(len, _KEYWORDS)))
            kind = head[4:8]
            if len(head) < 8 or kind == b"IEND":
                return False
            behind |= kind == b"IDAT"
            if behind and (kind == b"eXIf" or (kind in _TEXT and head[8:].startswith(_KEYWORDS))):
                return True
            at += 12 + int.from_bytes(head[:4])
    finally:
        file.seek(before)
