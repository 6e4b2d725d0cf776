"""Images of more than 8 bits a pixel: which of their bits count.

A camera of 10 or 12 bits often writes files of 16. Their upper bits are zero, and the upper eight alone
would leave four or sixteen grey levels.
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from padseg.data.findings import warn_once
from padseg.data.orientation import upright
from padseg.data.pages import warn_of_pages

ALL_BITS = 16
DARK = 32  # of 255; an image without a brighter value is nearly black
_CLIPPED = 0.5  # share of the pixels above the largest value; such an image is mostly white
_GREY_ALPHA = "LA"  # how Pillow's names of grey with transparency begin
# Tags of TIFF 6.0.
_BITS, _WHITE_IS_ZERO, _CHANNELS, _LARGEST, _PLANES, _SIGNED = 258, 262, 277, 281, 284, 339


def is_deep(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel, of which fewer may be used, before its pixels are decoded."""
    return _declared_bits(image) is None and (
        image.mode.startswith("I;16") or _is_int16(image) or _has_deep_colours(image)
    )


def used_bits(image: Image.Image) -> int:
    """The bits that the largest value of a deep image needs, or the largest one that its header names."""
    largest = int(_tag(image, _LARGEST, 0))
    values = _deep_colours(image)
    return int(
        max(largest, int(np.asarray(image if values is None else values).max()))
    ).bit_length()


def to_rgb(image: Image.Image, bits: int = ALL_BITS) -> Image.Image:
    """Any 8- or 16-bit image as upright 8-bit RGB.

    Args:
        image: The image; transparency is dropped.
        bits: Bits that the pixels of 16-bit images use, 8 to 16: the upper eight of these are kept.
            Files that name a smaller number themselves keep the upper eight of theirs.

    Raises:
        ValueError: Its pixels have 32 bits, or are negative, so that their range is unknown; or Pillow would read
            them wrongly.
    """
    if _tag(image, _PLANES, 1) == 2 and _tag(image, _CHANNELS, 1) > 1 and _tag(image, _BITS, 8) > 8:
        raise ValueError(
            "its channels of 16 bits are stored one after the other (planar); save them interleaved"
        )
    warn_of_pages(image)
    decoded = getattr(image, "fp", None) is None
    colours = _deep_colours(image) if bits < ALL_BITS else None
    image = upright(image)
    if colours is not None:
        return Image.fromarray(_upper_eight(colours, bits))
    if image.mode.startswith("I;16") or _is_int16(image):  # Pillow would clip them to white
        signed = 1 if _is_int16(image) else 0
        grey = np.asarray(image)
        if grey.min() < 0:
            raise ValueError("it has negative pixels, of unknown range; save it with 8 or 16 bits")
        reduced = _upper_eight(grey, _declared_bits(image) or min(bits, ALL_BITS - signed))
        if is_white_zero(image):
            reduced = 255 - reduced
        return Image.fromarray(reduced).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, of unknown range; save it with 8 or 16")
    # Pillow warns of palettes with transparency unless it is kept at first.
    rgb = (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")
    if bits < ALL_BITS and decoded and np.asarray(rgb).max() < DARK:
        message = (
            "A picture in memory is nearly black. If its file has colours of 16 bits, give the file: Pillow keeps "
            f"their upper eight, and the images of the training use the lower {bits}."
        )
        warn_once("decoded", message)
    return rgb


def is_white_zero(image: Image.Image) -> bool:
    """Whether 0 is white in a grey TIFF of 16 bits; Pillow inverts only smaller ones."""
    return image.mode.startswith("I;16") and _tag(image, _WHITE_IS_ZERO, 1) == 0


def _upper_eight(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    values = values >> (bits - 8)
    reduced: NDArray[np.uint8] = np.minimum(values, 255).astype(np.uint8)
    if reduced.max() < DARK:
        message = (
            "An image of 16 bits is read as nearly black: if it uses fewer of them, give their number to the "
            "training with --data.bits."
        )
        warn_once("black", message)
    if (values > 255).mean() > _CLIPPED:
        message = (
            f"An image of 16 bits is read as mostly white: it uses more than the {bits} bits of the training's "
            "images. If it is not from another camera, train again with a larger --data.bits."
        )
        warn_once("white", message)
    return reduced


def _tag(image: Image.Image, tag: int, missing: Any) -> Any:
    value = getattr(image, "tag_v2", {}).get(tag, missing)
    return max(value) if isinstance(value, tuple) else value


def _declared_bits(image: Image.Image) -> int | None:
    """The bits of a grey TIFF that has between 8 and 16, which Pillow widens without scaling."""
    bits = int(_tag(image, _BITS, 0))
    return bits if image.mode.startswith("I;16") and 8 <= bits < ALL_BITS else None


def _is_int16(image: Image.Image) -> bool:
    signed = _tag(image, _SIGNED, 1) == 2
    return image.mode == "I" and signed and _tag(image, _BITS, 32) == ALL_BITS


def _raw_mode(tile: Any) -> str:
    """Pillow's name of the layout of a file's pixels, such as RGB;16B."""
    return str(tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0])


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether the file has channels of 16 bits, of which Pillow keeps the upper eight; not once decoded.

    These are colours, and grey with transparency.
    """
    raw_modes = [_raw_mode(tile) for tile in getattr(image, "tile", [])]
    return any(mode.startswith(("RGB", _GREY_ALPHA)) and ";16" in mode for mode in raw_modes)


def _with_other_byte_order(tile: Any) -> Any:
    raw_mode = _raw_mode(tile)
    little = raw_mode.endswith("L") or (raw_mode.endswith("N") and sys.byteorder == "little")
    other = raw_mode[:-1] + ("B" if little else "L")
    return tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))


def _deep_colours(image: Image.Image) -> NDArray[np.uint16] | None:
    """(H, W, 3), upright, all bits of a colour image of 16; None for other images.

    Pillow has no such images. It keeps the first byte of each value or, if it takes the file for one of
    the other byte order, the second. An image that is decoded already is read once more from its file.
    """
    if image.mode in ("RGB", "RGBA") and not getattr(image, "tile", []):
        return _read_again(image)
    file = getattr(image, "fp", None)
    if file is None or not _has_deep_colours(image):
        return None
    before, parts = file.tell(), []
    for swapped in (False, True):
        file.seek(0)
        again: Any = Image.open(file)
        if swapped and _raw_mode(again.tile[0]).startswith(_GREY_ALPHA):
            _take_lower_bytes(again, file)
        elif swapped:
            again.tile = [_with_other_byte_order(tile) for tile in again.tile]
        parts.append(np.asarray(upright(again).convert("RGB"), dtype=np.uint16))
    file.seek(before)
    return np.asarray(parts[0] << 8 | parts[1], dtype=np.uint16)


def _take_lower_bytes(image: Image.Image, file: Any) -> None:
    """Replace the pixels of a PNG of grey with transparency, which Pillow reads in one byte order only."""
    file.seek(0)
    values: Any = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ValueError("its 16 bits cannot be decoded")
    file.seek(0)
    image.load()
    image.paste(Image.fromarray((values[..., 0] & 255).astype(np.uint8)).convert(image.mode))


def _read_again(image: Image.Image) -> NDArray[np.uint16] | None:
    """As `_deep_colours`, if the image is still as its file has it."""
    name = getattr(image, "filename", "")
    if not name or not Path(name).is_file():
        return None
    with Path(name).open("rb") as file, Image.open(file) as stored:
        colours = _deep_colours(stored)
    if colours is None or not np.array_equal(
        colours >> 8, np.asarray(upright(image).convert("RGB"))
    ):
        return None
    return colours
