"""A cache of decoded images."""

import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from padseg.data.depth import ALL_BITS
from padseg.data.findings import raise_problems
from padseg.data.images import Size, read_image
from padseg.errors import DataError
from padseg.machine.progress import tracked
from padseg.machine.threads import map_in_threads


class ImageCache:
    """A cache of decoded images, so that each file is decoded once and not in every step.

    Decoding takes about twenty times as long as painting a defect. The images are in memory or, above
    `limit_mb`, in a memory-mapped temporary file that the data workers share.

    Args:
        paths: The image files.
        size: (H, W) in pixels.
        limit_mb: Largest amount of memory to use, in MiB.
        description: Text of the progress bar.
        bits: As in `read_image`.

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
    ) -> None:
        shape = (len(paths), *size, 3)
        self._shape = shape
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._file: Path | None = None
        self._images: list[NDArray[np.uint8]]  # a list of one, so that it can be emptied
        if np.prod(shape) > limit_mb * 2**20:
            # A folder, because Windows does not open a temporary file twice.
            self._folder = tempfile.TemporaryDirectory(prefix="padseg-", ignore_cleanup_errors=True)
            self._file = Path(self._folder.name) / "images"
            _reserve(self._file, int(np.prod(shape)))
            self._images = [self._map("r+")]
            weakref.finalize(self, _remove, self._images, self._folder)
        else:
            self._images = [np.empty(shape, np.uint8)]

        def store(index: int) -> DataError | None:
            try:
                self._images[0][index] = read_image(paths[index], size, bits)
            except DataError as error:
                return error
            return None

        done = map_in_threads(store, range(len(paths)))
        failed = [*tracked(done, description, len(paths), transient=True)]
        raise_problems([str(error) for error in failed if error is not None])

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


def _remove(images: list[NDArray[np.uint8]], folder: tempfile.TemporaryDirectory[str]) -> None:
    """Unmap the file first: Windows does not delete mapped files."""
    images.clear()
    folder.cleanup()


def _reserve(path: Path, size: int) -> None:
    """Create a file whose space is allocated: a mapped file on a full disk would kill the process."""
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
