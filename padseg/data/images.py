"""Image files to pixels: reading and resizing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from padseg.data.orientation import upright, upright_shape
from padseg.errors import ConfigError, DataError

Size = tuple[int, int]  # (H, W)
Result = TypeVar("Result")

if (
    Image.MAX_IMAGE_PIXELS == 2**30 // 4 // 3
):  # Pillow's default, so the user has not chosen another
    # Pillow rejects twice as many, 179 megapixels; scanners and line cameras legitimately produce more.
    Image.MAX_IMAGE_PIXELS = 2**30


def as_size(image_size: int | Sequence[int]) -> Size:
    """(H, W) from two numbers, or from one for both.

    Raises:
        ConfigError: There are too many or too few numbers, or they are too small.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < 32:
        raise ConfigError(f"image_size is {image_size}; it must be one or two numbers from 32 up.")
    return size[0], size[1]


def read_image(path: Path, size: Size) -> NDArray[np.uint8]:
    """An image as RGB, resized with Pillow's bilinear filter, which low-pass filters when shrinking.

    Args:
        path: Any file Pillow can read; it is turned upright according to its EXIF header; grey and palette
            images become RGB, 16-bit ones lose their lower 8 bits, transparency is dropped.
        size: (H, W) in pixels.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: The file is missing, empty, not a whole image or has pixels of 32 bits.
    """
    return np.array(resize(open_image(path, as_rgb), size), dtype=np.uint8)


def resize(image: Image.Image, size: Size) -> Image.Image:
    """An image at (H, W) by Pillow's bilinear filter, the width first.

    Args:
        image: RGB or float.
        size: (H, W) in pixels.
    """
    height, width = size
    # Two calls, because Pillow rounds between its two passes and, from release 13 on, resizes the height
    # of tall images first: pixels would depend on the release and differ from exported networks.
    rows = image.resize((width, image.height), Image.Resampling.BILINEAR)
    return rows.resize((width, height), Image.Resampling.BILINEAR)


def image_shape(path: Path) -> Size:
    """(H, W) of the upright image according to the file's header, without decoding the pixels.

    Raises:
        DataError: The file is missing, empty or not an image.
    """
    return _with_open(path, upright_shape)


def decode(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, an upright image at its own size.

    Raises:
        DataError: As `read_image`.
    """
    return np.asarray(open_image(path, as_rgb))


def open_image(path: Path, use: Callable[[Image.Image], Result]) -> Result:
    """Use an image, turned upright, while its file is open.

    Raises:
        DataError: It cannot be read, or has more than 2^31 pixels.
    """
    return _with_open(path, lambda image: use(upright(image)))


def _with_open(path: Path, use: Callable[[Image.Image], Result]) -> Result:
    try:
        # Given a path, Pillow maps plain TIFFs into memory, and rotated ones with a wrong shape.
        with path.open("rb") as file, Image.open(file) as image:
            return use(image)
    except Exception as error:  # Pillow's decoders raise nearly any exception on a damaged file
        raise _unreadable(path, error) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Any 8- or 16-bit image as 8-bit RGB; 16-bit ones keep their upper 8 bits.

    Raises:
        ValueError: Its pixels have 32 bits, whose range is unknown.
    """
    if image.mode.startswith("I;16"):  # Pillow would clip everything above 255 to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, of unknown range; save it with 8 or 16")
    return image.convert("RGB")


def _unreadable(path: Path, error: Exception) -> DataError:
    try:
        if path.stat().st_size == 0:
            return DataError(f"image {path} is empty (0 bytes): restore or remove it.")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if path.is_symlink():
            return DataError(
                f"image {path} is a link to {path.readlink()}, which does not exist: restore that, or remove "
                "the link."
            )
        return DataError(f"image {path} does not exist.")
    except OSError as status:
        return DataError(f"image {path} cannot be read ({status.strerror}): rename or move it.")
    if isinstance(error, Image.DecompressionBombError):
        return DataError(
            f"image {path} is refused ({str(error).rstrip('.')}): cut it into smaller ones."
        )
    unknown = isinstance(error, UnidentifiedImageError)  # its text names a Python object
    reason = "of no known format" if unknown else error
    return DataError(f"image {path} cannot be read ({reason}): restore or remove it.")
