"""Which files are images, and the images of a folder."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from padseg.errors import DataError
from padseg.machine.marks import is_marked

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted by name, without hidden ones and those that padseg wrote.

    Files are recognised by their suffix, in upper or lower case. They are sorted by their POSIX paths, so
    that the order is the same on every system. Links are followed. A folder that does not exist has no
    images.

    Raises:
        DataError: A folder cannot be read.
    """
    found = walk(folder) if recursive else list_entries(folder)[1]
    return [path for path in sort_images(found) if not is_marked(path)]


def sort_images(files: Iterable[Path]) -> list[Path]:
    """Those of the files whose suffix is that of an image, in the order of `list_images`."""
    images = (path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(images, key=lambda path: path.as_posix())


def list_entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and files in a folder, without hidden ones; none if it does not exist.

    Raises:
        DataError: It cannot be read.
    """
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or _leads_nowhere(entry):
                    continue
                if entry.is_dir():
                    folders.append(folder / entry.name)
                elif entry.is_file():
                    files.append(folder / entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise unreadable(folder, error) from error
    return folders, files


def unreadable(path: Path | str, error: OSError) -> DataError:
    """The message about a folder that cannot be read, or about a file or folder in one."""
    reason = error.strerror or error
    return DataError(f"{path} cannot be read ({reason}): give access to it, or move it elsewhere.")


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether the path is a link to itself or lies below a file."""
    try:
        entry.is_dir()
    except OSError as error:
        return error.errno in (errno.ELOOP, errno.ENOTDIR)
    return False


def walk(
    folder: Path,
    above: tuple[Path, ...] = (),
    report: Callable[[Path, DataError], None] | None = None,
) -> Iterator[Path]:
    """The files in a folder and its subfolders, without following links to a parent folder.

    Args:
        folder: The folder.
        above: The folders above it, which links may lead to.
        report: Called with a folder that cannot be read and the reason, instead of raising this.

    Raises:
        DataError: A folder cannot be read, without `report`.
    """
    try:
        folders, files = list_entries(folder)
    except DataError as error:
        if report is None:
            raise
        report(folder, error)
        return
    yield from files
    above = (*above, folder.resolve())
    for inner in folders:
        target = inner.resolve()
        if not any(outer.is_relative_to(target) for outer in above):
            yield from walk(inner, above, report)


def list_textures(folder: Path) -> list[Path]:
    """The texture images below a folder, such as `dtd/images`.

    Raises:
        DataError: The folder is missing, holds no image or cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"texture folder {folder} does not exist: pass the folder of DTD's images.")
    textures = list_images(folder, recursive=True)
    if not textures:
        raise DataError(f"texture folder {folder} holds no image ({suffixes()}).")
    return textures


def suffixes() -> str:
    """The suffixes of image files, for messages."""
    return ", ".join(sorted(IMAGE_SUFFIXES))
