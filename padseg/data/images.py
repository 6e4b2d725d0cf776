"""Image files to pixels: reading and resizing."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from operator import index
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from padseg.data.depth import ALL_BITS, is_deep, to_rgb, used_bits
from padseg.data.orientation import upright, upright_shape
from padseg.data.pages import count_pages
from padseg.errors import ConfigError, DataError
from padseg.machine.threads import map_in_threads

Size = tuple[int, int]  # (H, W)
_LARGEST_SIDE = 2**14
Result = TypeVar("Result")

# Pillow's default, so the user has not chosen another.
if Image.MAX_IMAGE_PIXELS == 2**30 // 4 // 3:
    # Pillow rejects twice as many, 179 megapixels; scanners and line cameras legitimately produce more.
    Image.MAX_IMAGE_PIXELS = 2**30


def as_size(image_size: int | Sequence[int]) -> Size:
    """(H, W) from two numbers, or from one for both.

    Raises:
        ConfigError: There are too many or too few numbers, or they are too small or too large.
    """
    given = [image_size] * 2 if isinstance(image_size, Integral) else image_size
    try:
        size = tuple(index(side) for side in given)  # type: ignore[union-attr]
    except TypeError:
        size = ()
    if len(size) != 2 or min(size) < 32 or max(size) > _LARGEST_SIDE:
        raise ConfigError(
            f"image_size is {image_size}; it must be one or two numbers from 32 to {_LARGEST_SIDE}."
        )
    return size[0], size[1]


def read_image(path: Path, size: Size, bits: int = ALL_BITS) -> NDArray[np.uint8]:
    """An image as RGB, resized with Pillow's bilinear filter, which low-pass filters when shrinking.

    Args:
        path: Any file Pillow can read; it is turned upright, see `padseg.data.orientation`; grey and palette
            images become RGB, transparency is dropped, and the first of several pages is taken.
        size: (H, W) in pixels.
        bits: Bits that the pixels of 16-bit images use; the upper eight of these are kept.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: The file is missing, empty, not a whole image or has pixels of 32 bits.
    """
    return np.array(resize(open_rgb(path, bits), size), dtype=np.uint8)


def resize(image: Image.Image, size: Size) -> Image.Image:
    """An image, RGB or float, at (H, W) by Pillow's bilinear filter, the width first."""
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


def image_pages(path: Path) -> int:
    """The number of pages or frames, of which the first is read; raises as `image_shape`."""
    return _with_open(path, count_pages)


def decode(path: Path, bits: int = ALL_BITS) -> NDArray[np.uint8]:
    """As `read_image`, at the image's own size."""
    return np.asarray(open_rgb(path, bits))


def open_rgb(path: Path, bits: int = ALL_BITS) -> Image.Image:
    """As `decode`, as Pillow's image."""
    return _with_open(path, partial(to_rgb, bits=bits))


class Pixels(NamedTuple):
    """What checks need of an image's pixels: its size, its largest value, and a digest independent of the encoding."""

    size: Size
    brightest: int
    digest: str


def read_pixels(path: Path, bits: int = ALL_BITS) -> Pixels:
    """As `decode`, for checks."""
    pixels = decode(path, bits)
    digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return Pixels((pixels.shape[0], pixels.shape[1]), int(pixels.max()), digest)


def measure_bits(paths: Sequence[Path]) -> int:
    """The bits that the 16-bit images of a set use, 8 to 16; 16 without such images.

    Images that cannot be read do not count; `padseg.data.file_checks` reports them.
    """

    def measure(path: Path) -> int:
        try:
            return _with_open(path, lambda image: used_bits(image) if is_deep(image) else 0)
        except DataError:
            return 0

    most = max(map_in_threads(measure, paths), default=0)
    return max(8, most) if most else ALL_BITS


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
    except MemoryError as error:
        raise DataError(
            f"image {path} does not fit into memory: cut it into smaller ones, or free some."
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly any exception on a damaged file
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    if path.is_dir():
        return DataError(f"image {path} is a folder: give the files in it.")
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
