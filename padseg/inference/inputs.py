"""The images given to a command as files, folders and patterns, and a name for each."""

import glob
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from padseg.data.good_folders import walk_good, warn_of_neighbours
from padseg.data.image_files import cannot_read, sort_images, walk_folders, warn_of_left_out
from padseg.errors import DataError, count
from padseg.machine.files import absolute
from padseg.machine.marks import is_marked

_log = logging.getLogger(__name__)


def find_images(
    paths: Sequence[str | Path],
    unreadable: dict[Path, DataError] | None = None,
    *,
    good: bool = False,
) -> list[Path]:
    """The images of files, folders (with all subfolders) and patterns, each once, in order.

    Pictures that padseg wrote are left out, with a warning.

    Args:
        paths: Patterns are those of `glob`, with `**` for any folders.
        unreadable: Gets the folders below `paths` that cannot be read, and why; None to raise this.
        good: Take only the good images of folders, see `walk_good`.

    Returns:
        Absolute paths.

    Raises:
        DataError: A path does not exist, or there is no image in it; or images to be good may have defects.
    """
    report = None if unreadable is None else unreadable.__setitem__
    found: dict[Path, None] = {}
    folders: list[Path] = []
    for given in paths:
        for path in _expand(str(given)):
            images = [path]
            folders.append(absolute(path) if path.is_dir() else absolute(path).parent)
            if path.is_dir():
                entries = [*(walk_good(path) if good else walk_folders(path, report=report))]
                warn_of_left_out(entries)
                images = sort_images(file for one in entries for file in one.files)
            if not images and not unreadable:
                raise DataError(f"{path} holds no image: give image files, or folders of them.")
            found.update(dict.fromkeys(map(absolute, images)))
    if good:
        warn_of_neighbours(folders)
    # Unlike Path.is_file, it raises nothing; a pipe could be read only once.
    own = [path for path in found if os.path.isfile(path) and is_marked(path)]  # noqa: PTH113
    if own:
        _log.warning(
            "Left out, as padseg wrote them: %s, such as %s.", count(len(own), "picture"), own[0]
        )
    for path in own:
        del found[path]
    images = list(found)
    if not images and not unreadable:
        raise DataError("all images given are pictures that padseg itself wrote: give others.")
    return images


def _expand(given: str) -> list[Path]:
    try:
        if Path(given).exists():
            return [Path(given)]
    except OSError as error:
        raise cannot_read(given, error) from error
    if not glob.has_magic(given):
        raise DataError(f"{given} does not exist: give image files, folders or patterns.")
    matching = sorted(glob.glob(_literal(given), recursive=True))  # noqa: PTH207 - it may be absolute
    if not matching:
        raise DataError(f"no file matches {given}: give image files, folders or patterns.")
    return [Path(path) for path in matching]


def _literal(given: str) -> str:
    """A pattern with the names of existing folders escaped, so that a bracket in one is a bracket."""
    path = Path(given)
    existing = next((parent for parent in path.parents if os.path.exists(parent)), None)  # noqa: PTH110
    if existing is None:
        return given
    return os.path.join(glob.escape(str(existing)), path.relative_to(existing))  # noqa: PTH118


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
    path = absolute(given)
    if path.is_dir():
        return path
    if path.exists():
        return path.parent
    # A folder may have brackets in its name.
    return next(
        parent for parent in path.parents if parent.is_dir() or not glob.has_magic(str(parent))
    )


def name_below(path: Path, folder: Path) -> str:
    """The path of a file below a folder, with forward slashes."""
    return path.relative_to(folder).as_posix()
