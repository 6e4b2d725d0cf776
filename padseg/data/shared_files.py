"""Files of decoded images that the processes of a machine share and later trainings find again.

They are in a folder of the temporary folder (TMPDIR), and may be deleted whenever no training runs. The name
of a file identifies the images and how they were read, so that it is never out of date.
"""

import hashlib
import math
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import numpy as np
import PIL

from padseg import __version__
from padseg.data.images import Size
from padseg.machine.files import reserve, written_whole
from padseg.machine.progress import working

if sys.platform != "win32":
    import fcntl

Pixels = np.memmap[Any, np.dtype[np.uint8]]
_FORMAT = 1  # to be raised when `read_image` gives other pixels within a version of padseg
_SUFFIX = ".images"
_LONGEST_WAIT = 600.0  # seconds, for another process that decodes the same images


def map_shared(
    paths: Sequence[Path],
    size: Size,
    bits: int,
    limit: float,
    decode: Callable[[Pixels], None],
    description: str,
) -> Pixels | None:
    """Decoded images in a file that other processes may use as well, written first if there is none.

    Args:
        paths: The image files.
        size: (H, W), as in `read_image`.
        bits: As in `read_image`.
        limit: Largest size of all such files together, in bytes; those unused for longest make room.
        decode: Writes the images into an array (N, H, W, 3).
        description: What is done while another process decodes the same images.

    Returns:
        (N, H, W, 3) uint8, mapped from the file, which is not deleted to make room as long as it is mapped;
        None if it does not fit or the folder cannot be used.
    """
    shape = (len(paths), *size, 3)
    try:
        folder = _own_folder()
        path = folder / _file_name(paths, size, bits)
        images = _map(path, shape)
        if images is not None:
            return images
        with _alone(path, description):
            images = _map(path, shape)  # by the process that this one waited for
            if images is None and _make_room(folder, math.prod(shape), limit):
                _write(path, shape, decode)
                images = _map(path, shape)
            return images
    except (OSError, NotImplementedError):  # of the folder alone; the caller does without
        return None


def _file_name(paths: Sequence[Path], size: Size, bits: int) -> str:
    """A name that changes with the images, their files and how they are read.

    Raises:
        OSError: There is no such file.
    """
    digest = hashlib.sha256(repr((__version__, _FORMAT, PIL.__version__, size, bits)).encode())
    for path in paths:
        status = path.stat()
        # The last change of its status too, which copying tools cannot set back.
        version = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(os.fsencode(path.absolute()) + repr(version).encode())
    return digest.hexdigest()[:32] + _SUFFIX


def _own_folder() -> Path:
    """The folder of the files, created if it does not exist.

    Raises:
        OSError: It cannot be used, or others can write into it.
    """
    owner = f"-{os.getuid()}" if sys.platform != "win32" else ""
    folder = Path(tempfile.gettempdir()) / f"padseg-decoded{owner}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(folder)
    if sys.platform != "win32" and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise PermissionError(folder)
    return folder


def _map(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Map a whole file and mark it as used; None if there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        _hold(file)
        status = os.fstat(file.fileno())
        if status.st_size != math.prod(shape) or not status.st_nlink:  # deleted meanwhile
            return None
        with suppress(OSError):
            os.utime(path)  # those unused for longest are deleted first
        return np.memmap(file, np.uint8, "r", shape=shape)


def _alone(path: Path, description: str) -> AbstractContextManager[object]:
    """Wait until no other process writes a file."""
    with working(description):
        return filelock.FileLock(f"{path}.lock").acquire(timeout=_LONGEST_WAIT)


def _hold(file: BinaryIO) -> None:
    """Keep a file from being deleted until it is closed and no longer mapped."""
    if sys.platform != "win32":  # which deletes no file in use
        fcntl.flock(file, fcntl.LOCK_SH)  # a mapping has a copy of the descriptor and so the lock


def _make_room(folder: Path, count: int, limit: float) -> bool:
    """Delete unused files, the oldest first, until a further one fits; whether it does."""
    files = [(path, path.stat()) for path in folder.glob(f"*{_SUFFIX}")]
    total = count + sum(status.st_size for _, status in files)
    for path, status in sorted(files, key=lambda each: each[1].st_mtime):
        if total > limit and _delete(path):
            total -= status.st_size
    # The temporary folder may be in memory, and is not padseg's alone.
    return total <= limit and 2 * count <= shutil.disk_usage(folder).free


def _delete(path: Path) -> bool:
    """Delete a file unless a process uses it; its lock stays, since another process may be waiting for it."""
    try:
        if sys.platform == "win32":
            path.unlink()
        else:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
    except OSError:
        return False
    return True


def _write(path: Path, shape: tuple[int, ...], decode: Callable[[Pixels], None]) -> None:
    # With the suffix of the whole files, so that what a killed process leaves is deleted like these.
    with written_whole(path, draft=f"draft-{path.name}") as draft:
        reserve(draft, math.prod(shape))
        with draft.open("r+b") as file:
            _hold(file)
            images = np.memmap(file, np.uint8, "r+", shape=shape)
        decode(images)
        images.flush()
        del images  # Windows renames no mapped file
