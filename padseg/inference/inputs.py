"""The images given to a command as files, folders and patterns, and a name for each."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from padseg.data.image_files import list_images, unreadable
from padseg.errors import DataError


def find_images(paths: Sequence[str | Path], leave_out: Path | None = None) -> list[Path]:
    """The images of files, folders (with all subfolders) and patterns, each once, in order.

    Args:
        paths: Patterns are those of `glob`, with `**` for any folders.
        leave_out: A folder whose images to ignore: results of an earlier call.

    Returns:
        Absolute paths.

    Raises:
        DataError: A path does not exist, or there is no image in it.
    """
    found: dict[Path, None] = {}
    for given in paths:
        for path in _expand(str(given)):
            images = list_images(path, recursive=True) if path.is_dir() else [path]
            if not images:
                raise DataError(f"{path} holds no image: give image files, or folders of them.")
            found.update(dict.fromkeys(Path(os.path.abspath(image)) for image in images))  # noqa: PTH100
    if leave_out is not None:
        # Nor does `absolute` remove "..", nor may `resolve` follow links to files of one name.
        out = Path(os.path.abspath(leave_out))  # noqa: PTH100
        found = {path: None for path in found if out not in path.parents}
    if not found:
        raise DataError("there are no images except those in the folder of results: give others.")
    return list(found)


def _expand(given: str) -> list[Path]:
    try:
        if Path(given).exists():
            return [Path(given)]
    except PermissionError as error:
        raise unreadable(given, error) from error
    if not glob.has_magic(given):
        raise DataError(f"{given} does not exist: give image files, folders or patterns.")
    matching = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 - `given` may be absolute
    if not matching:
        raise DataError(f"no file matches {given}: give image files, folders or patterns.")
    return [Path(path) for path in matching]


def common_folder(images: Iterable[Path], given: Iterable[str | Path] = ()) -> Path:
    """The deepest folder that contains all files.

    Args:
        images: Absolute paths.
        given: The paths by which they were found. With these, the folder does not depend on the images.

    Raises:
        DataError: They lie on several drives.
    """
    folders = [image.parent for image in images] + [_fixed(str(path)) for path in given]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:
        raise DataError("the images lie on several drives: give those of one at a time.") from error


def _fixed(given: str) -> Path:
    """The folder that contains everything that a path, folder or pattern can match."""
    path = Path(os.path.abspath(given))  # noqa: PTH100 - as `find_images`
    if path.is_dir():
        return path
    if path.exists():
        return path.parent
    return next(parent for parent in path.parents if not glob.has_magic(str(parent)))


def name_below(path: Path, folder: Path) -> str:
    """The path of a file below a folder, with forward slashes."""
    return path.relative_to(folder).as_posix()
