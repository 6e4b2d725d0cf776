"""Files to pixels: reading, resizing and keeping the decoded images."""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.progress import track

from padseg.errors import DataError

Size = tuple[int, int]  # (H, W)


def read_image(path: Path, size: Size) -> NDArray[np.uint8]:
    """An image as RGB, resized with Pillow's bilinear filter, which low-pass filters when shrinking.

    Args:
        path: Any file Pillow can read; grey and palette images become RGB.
        size: (H, W) in pixels.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: The file is missing, empty or not a whole image.
    """
    return np.array(_read(path, "RGB", size), dtype=np.uint8)


def read_mask(path: Path, size: Size) -> NDArray[np.uint8]:
    """A defect mask, resized bilinearly with antialiasing and cut at one half.

    The reduction is that of the published DeSTSeg evaluation, so that figures can be compared.

    Args:
        path: A grey image, 0 for normal and the largest value of its type for a defect.
        size: (H, W) in pixels.

    Returns:
        (H, W) uint8, 0 or 1.

    Raises:
        DataError: The file is missing, empty or not a whole image.
    """
    share = np.asarray(_read(path, "F", size))
    return (share >= 0.5).astype(np.uint8)


def image_shape(path: Path) -> Size:
    """(H, W) as the file's header says, without decoding the pixels."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _read(path: Path, mode: str, size: Size) -> Image.Image:
    height, width = size
    try:
        with Image.open(path) as image:
            pixels = _as_share(image) if mode == "F" else image.convert(mode)
            return pixels.resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's decoders raise SyntaxError and ValueError too on a damaged file.
        raise _unreadable(path, error) from error


def _as_share(mask: Image.Image) -> Image.Image:
    """A mask scaled to [0, 1] by its own largest value: masks of 0/1, 0/255 and 0/65535 occur."""
    grey = mask.convert("I" if mask.mode.startswith("I") else "L").convert("F")
    peak = max(float(grey.getextrema()[1]), 1.0)  # type: ignore[arg-type]
    return Image.fromarray(np.asarray(grey) / np.float32(peak))


def _unreadable(path: Path, error: Exception) -> DataError:
    if not path.exists():
        return DataError(f"image {path} does not exist.")
    if path.stat().st_size == 0:
        return DataError(f"image {path} is empty (0 bytes): restore or remove it.")
    return DataError(f"image {path} cannot be read ({error}): restore or remove it.")


class ImageCache:
    """Decoded images, so that each file is decoded once and not once a step.

    Decoding costs some twenty times what painting a defect costs. The images lie in memory, or, above
    `limit_mb`, in a memory-mapped temporary file that the data workers share.

    Args:
        paths: The image files.
        size: (H, W) in pixels.
        limit_mb: The most memory to use, in MiB.
        description: What the progress bar says.
    """

    def __init__(
        self, paths: Sequence[Path], size: Size, limit_mb: float, description: str
    ) -> None:
        shape = (len(paths), *size, 3)
        self._shape = shape
        self._file: Any = None
        if np.prod(shape) > limit_mb * 2**20:
            self._file = tempfile.NamedTemporaryFile(prefix="padseg-", suffix=".cache")  # noqa: SIM115
            self._images: NDArray[np.uint8] = self._map(self._file.name, "w+")
        else:
            self._images = np.empty(shape, np.uint8)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = pool.map(lambda path: read_image(path, size), paths)
            for index, image in enumerate(
                track(decoded, description, total=len(paths), transient=True)
            ):
                self._images[index] = image

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; a copy, so that no augmentation can write into the cache."""
        return np.array(self._images[index])

    def _map(self, name: str, mode: Any) -> NDArray[np.uint8]:
        return np.memmap(name, np.uint8, mode, shape=self._shape)

    def __getstate__(self) -> dict[str, Any]:
        """A spawned worker maps the file again; it gets no copy of the pixels."""
        state = self.__dict__.copy()
        if self._file is not None:
            state["_file"] = self._file.name
            del state["_images"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._file is not None:
            self._images = self._map(self._file, "r")
