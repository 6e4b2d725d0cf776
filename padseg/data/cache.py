"""A cache of decoded images."""

import math
import tempfile
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from padseg.data.depth import ALL_BITS
from padseg.data.findings import raise_problems
from padseg.data.images import Size, read_image
from padseg.data.shared_files import map_shared
from padseg.errors import DataError
from padseg.machine.files import reserve
from padseg.machine.progress import tracked
from padseg.machine.threads import map_in_threads

_WORTH_A_FILE = 2**20  # bytes; fewer are decoded again as fast


class ImageCache:
    """A cache of decoded images, so that each file is decoded once and not in every step.

    Decoding takes about twenty times as long as painting a defect. Up to `limit_mb`, the images are in a
    memory-mapped file that all processes of this machine share and later trainings find again, see
    `padseg.data.shared_files`; in memory if they are few or there is no room for the file. Above
    `limit_mb`, they are in a memory-mapped temporary file of this process and its data workers.

    Args:
        paths: The image files.
        size: (H, W) in pixels.
        limit_mb: Largest size of all shared files together, and of the images in memory, in MiB.
        description: Text of the progress bar.
        bits: As in `read_image`.
        in_memory: Whether the images may be in memory, of which spawned data workers would get copies.

    Raises:
        DataError: Files cannot be read (the message names them all), or there is no space for them.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: Size,
        limit_mb: float,
        description: str,
        bits: int = ALL_BITS,
        *,
        in_memory: bool = True,
    ) -> None:
        self._shape = (len(paths), *size, 3)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._file: Path | None = None
        self._images: list[NDArray[np.uint8]]  # a list of one, so that it can be emptied
        decode = partial(_decode, paths, size, bits, description)
        count, limit = math.prod(self._shape), limit_mb * 2**20
        shared = None
        if _WORTH_A_FILE <= count <= limit:
            shared = map_shared(paths, size, bits, limit, decode, description)
        if shared is not None:
            self._file = Path(str(shared.filename))
            self._images = [shared]
        elif count <= limit and in_memory:
            self._images = [np.empty(self._shape, np.uint8)]
            decode(self._images[0])
        else:
            self._folder, self._file = _temporary_file(count)
            self._images = [self._map("r+")]
            weakref.finalize(self, _remove, self._images, self._folder)
            decode(self._images[0])

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; a copy, so that no augmentation can write into the cache."""
        return np.array(self._images[0][index])

    def _map(self, mode: Any) -> NDArray[np.uint8]:
        assert self._file is not None
        return np.memmap(self._file, np.uint8, mode, shape=self._shape)

    def __getstate__(self) -> dict[str, Any]:
        """A spawned worker maps the file again instead of receiving a copy of the pixels."""
        state = self.__dict__ | {"_folder": None}
        if self._file is not None:
            del state["_images"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._file is not None:
            self._images = [self._map("r")]


def _decode(
    paths: Sequence[Path], size: Size, bits: int, description: str, images: NDArray[np.uint8]
) -> None:
    """Decode image files into an array (N, H, W, 3).

    Raises:
        DataError: Files cannot be read; the message names them all.
    """

    def store(index: int) -> DataError | None:
        try:
            images[index] = read_image(paths[index], size, bits)
        except DataError as error:
            return error
        return None

    done = map_in_threads(store, range(len(paths)))
    failed = [*tracked(done, description, len(paths), transient=True)]
    raise_problems([str(error) for error in failed if error is not None])


def _remove(images: list[NDArray[np.uint8]], folder: tempfile.TemporaryDirectory[str]) -> None:
    """Unmap the file first: Windows does not delete mapped files."""
    images.clear()
    folder.cleanup()


def _temporary_file(size: int) -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """A file of some bytes in a folder of its own, because Windows does not open a temporary file twice.

    Raises:
        DataError: There is no temporary folder, or no room in it.
    """
    place = "a temporary folder"
    try:
        folder = tempfile.TemporaryDirectory(prefix="padseg-", ignore_cleanup_errors=True)
        place = folder.name
        path = Path(place) / "images"
        reserve(path, size)
    except OSError as error:
        raise DataError(
            f"{size / 2**20:.0f} MiB of decoded images do not fit into {place} ({error.strerror}): let TMPDIR name a "
            "folder with more room, or raise --data.cache_limit_mb."
        ) from error
    return folder, path
