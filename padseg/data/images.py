"""Files to pixels: reading, resizing and keeping the decoded images."""

import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from rich.markup import escape
from rich.progress import track

from padseg.errors import ConfigError, DataError
from padseg.machine.threads import map_in_threads

Size = tuple[int, int]  # (H, W)
Result = TypeVar("Result")

if Image.MAX_IMAGE_PIXELS == 2**30 // 4 // 3:  # Pillow's own, that is, nobody has chosen another
    # Pillow refuses twice as many, 179 megapixels: scans and line cameras make more, on purpose.
    Image.MAX_IMAGE_PIXELS = 2**30

_FAINT = 0.1  # of a mask's largest value: less is a trace of its compression
_KINDS = 32  # a mask with smaller values only numbers its kinds of defect


def as_size(image_size: int | Sequence[int]) -> Size:
    """(H, W) from these two numbers, or from one for both.

    Raises:
        ConfigError: They are too many, too few or too small.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < 32:
        raise ConfigError(f"image_size is {image_size}; it must be one or two numbers from 32 up.")
    return size[0], size[1]


def read_image(path: Path, size: Size) -> NDArray[np.uint8]:
    """An image as RGB, resized with Pillow's bilinear filter, which low-pass filters when shrinking.

    Args:
        path: Any file Pillow can read; it is turned upright as its EXIF header says, grey and palette
            images become RGB, 16-bit ones lose their lower 8 bits, transparency is left out.
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
    # Two calls, as Pillow rounds between its two passes and takes the height of tall images first from
    # release 13 on: pixels would depend on the release and differ from those of an exported network.
    rows = image.resize((width, image.height), Image.Resampling.BILINEAR)
    return rows.resize((width, height), Image.Resampling.BILINEAR)


def read_masks(paths: Sequence[Path], size: Size) -> NDArray[np.uint8]:
    """The masks of one image as one, resized bilinearly with antialiasing and cut at one half.

    The reduction is that of the published DeSTSeg evaluation, so that figures can be compared.

    Args:
        paths: Grey images, 0 for normal and one value for a defect, of several in a file those from half of
            the largest up; or numbers of kinds of defect from 1 to 31 as VisA has them; colour images, of
            which the brightest channel counts; or palette images, black for normal. Transparent pixels are
            normal. They add up; none for an image without defects.
        size: (H, W) in pixels.

    Returns:
        (H, W) uint8, 0 or 1.

    Raises:
        DataError: A file is missing, empty or not a whole image.
    """
    mask = np.zeros(size, np.uint8)
    for path in paths:
        share = Image.fromarray(open_image(path, _as_share))
        mask |= (np.asarray(resize(share, size)) >= 0.5).astype(np.uint8)
    return mask


def is_empty_mask(path: Path) -> bool:
    """Whether a mask marks no pixel at its own size.

    Raises:
        DataError: The file is missing, empty or not a whole image.
    """
    return not (open_image(path, _as_share) >= 0.5).any()


def has_dark_regions(path: Path) -> bool:
    """Whether a mask has a region that is darker than half of its brightest one, hence taken for normal.

    Soft edges are no regions of their own, nor is what JPEG leaves beside an edge.

    Raises:
        DataError: The file is missing, empty or not a whole image.
    """
    share = open_image(path, _as_share)
    count, regions = cv2.connectedComponents((share >= _FAINT).astype(np.uint8))
    brightest = np.zeros(count, np.float32)
    np.maximum.at(brightest, np.asarray(regions, dtype=np.intp), share)
    return bool((brightest[1:] < 0.5).any())


def image_shape(path: Path) -> Size:
    """(H, W) of the upright image, as the file's header says, without decoding the pixels.

    Raises:
        DataError: The file is missing, empty or not an image.
    """
    return _use(path, _upright_shape)


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
    return _use(path, lambda image: use(upright(image)))


def upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF header says; itself where nothing is to be turned."""
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _upright_shape(image: Image.Image) -> Size:
    turned = _orientation(image) >= 5  # a quarter turn, mirrored or not
    return (image.width, image.height) if turned else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    """1 to 8 as in EXIF, 1 for upright; of TIFF always 1, as Pillow turns those itself."""
    if "exif" not in image.info:  # or a PNG would be decoded in search of one behind its pixels
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _use(path: Path, use: Callable[[Image.Image], Result]) -> Result:
    try:
        # Of a path, Pillow maps plain TIFFs into memory, and in a wrong shape those that lie on their side.
        with path.open("rb") as file, Image.open(file) as image:
            return use(image)
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise _unreadable(path, error) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Any 8- or 16-bit image as 8-bit RGB, of 16 bits the upper ones.

    Raises:
        ValueError: Its pixels have 32 bits, whose range nobody knows.
    """
    if image.mode.startswith("I;16"):  # Pillow would clip all above 255 to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, of unknown range; save it with 8 or 16")
    return image.convert("RGB")


def _as_share(mask: Image.Image) -> NDArray[np.float32]:
    """(H, W) in [0, 1], by the mask's own largest value: masks of 0/1, 0/255 and 0/65535 occur."""
    palette = mask.mode in ("P", "PA")
    if palette or ("transparency" in mask.info and mask.mode in ("1", "L", "RGB")):
        mask = mask.convert("RGBA")
    if palette:  # whose colours say nothing but black or not
        colour, alpha = np.split(np.asarray(mask), [3], axis=2)
        return np.array((colour.max(axis=2) > 0) * (alpha[..., 0] / 255), dtype=np.float32)
    if mask.mode in ("1", "L", "LA", "F") or mask.mode.startswith("I"):
        grey = np.array(mask.convert("L") if mask.mode == "LA" else mask, dtype=np.float32)
    else:  # the brightest channel: as grey, a blue defect beside a white one would be too dark
        grey = np.asarray(mask.convert("RGB")).max(axis=2).astype(np.float32)
    if mask.mode in ("LA", "RGBA"):  # where an editor has left it transparent, nothing is marked
        grey *= np.asarray(mask.getchannel("A"), dtype=np.float32) / 255
    peak = float(grey.max())
    if peak < _KINDS and mask.mode != "F":
        return (grey > 0).astype(np.float32)
    grey /= max(peak, 1e-6)
    return grey


def _unreadable(path: Path, error: Exception) -> DataError:
    try:
        if path.stat().st_size == 0:
            return DataError(f"image {path} is empty (0 bytes): restore or remove it.")
    except (OSError, ValueError):
        return DataError(f"image {path} does not exist.")
    if isinstance(error, Image.DecompressionBombError):
        return DataError(
            f"image {path} is refused ({str(error).rstrip('.')}): cut it into smaller ones."
        )
    unknown = isinstance(error, UnidentifiedImageError)  # whose text names a Python object
    reason = "of no known format" if unknown else error
    return DataError(f"image {path} cannot be read ({reason}): restore or remove it.")


class ImageCache:
    """Decoded images, so that each file is decoded once and not once a step.

    Decoding costs some twenty times what painting a defect costs. The images lie in memory, or, above
    `limit_mb`, in a memory-mapped temporary file that the data workers share.

    Args:
        paths: The image files.
        size: (H, W) in pixels.
        limit_mb: The most memory to use, in MiB.
        description: What the progress bar says.

    Raises:
        DataError: Files cannot be read, the message names them all; or there is no room for them.
    """

    def __init__(
        self, paths: Sequence[Path], size: Size, limit_mb: float, description: str
    ) -> None:
        shape = (len(paths), *size, 3)
        self._shape = shape
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._file: Path | None = None
        self._images: list[NDArray[np.uint8]]  # one; a list that can be emptied
        if np.prod(shape) > limit_mb * 2**20:
            # A folder, as Windows opens no temporary file twice.
            self._folder = tempfile.TemporaryDirectory(prefix="padseg-", ignore_cleanup_errors=True)
            self._file = Path(self._folder.name) / "images"
            _reserve(self._file, int(np.prod(shape)))
            self._images = [self._map("r+")]
            weakref.finalize(self, _remove, self._images, self._folder)
        else:
            self._images = [np.empty(shape, np.uint8)]

        def store(index: int) -> DataError | None:
            try:
                self._images[0][index] = read_image(paths[index], size)
            except DataError as error:
                return error
            return None

        done = map_in_threads(store, range(len(paths)))
        failed = [*track(done, escape(description), total=len(paths), transient=True)]
        refuse([str(error) for error in failed if error is not None])

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; a copy, so that no augmentation can write into the cache."""
        return np.array(self._images[0][index])

    def _map(self, mode: Any) -> NDArray[np.uint8]:
        assert self._file is not None
        return np.memmap(self._file, np.uint8, mode, shape=self._shape)

    def __getstate__(self) -> dict[str, Any]:
        """A spawned worker maps the file again; it gets no copy of the pixels."""
        state = self.__dict__ | {"_folder": None}
        if self._file is not None:
            del state["_images"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._file is not None:
            self._images = [self._map("r")]


def _remove(images: list[NDArray[np.uint8]], folder: tempfile.TemporaryDirectory[str]) -> None:
    """Let the file go first: Windows does not delete a mapped one."""
    images.clear()
    folder.cleanup()


def _reserve(path: Path, size: int) -> None:
    """Make a file whose bytes all have their place: a mapped one that finds none kills the process."""
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif shutil.disk_usage(path.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            else:
                file.truncate(size)
    except OSError as error:
        raise DataError(
            f"{size / 2**20:.0f} MiB of decoded images do not fit into {path.parent} ({error.strerror}): "
            "let TMPDIR name a folder with more room, or raise --data.cache_limit_mb."
        ) from error


def refuse(problems: Sequence[str]) -> None:
    """Raise one error for all problems, if there are any.

    Raises:
        DataError: With the sentence of the one problem, or a line each.
    """
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError("\n  ".join([f"{len(problems)} files cannot be used:", *problems]))
