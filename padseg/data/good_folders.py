"""The folders of good images in folders as users have them."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from padseg.data.image_files import Entries, list_entries, list_images, walk_folders
from padseg.data.samples import is_good, may_hold_defects
from padseg.errors import DataError

_log = logging.getLogger(__name__)


def warn_of_neighbours(folders: Iterable[Path]) -> None:
    """Warn of folders, given by absolute paths, beside one of good images: shells expand `test/*` to all of them."""
    others = [folder for folder in dict.fromkeys(folders) if not is_good(folder.name)]
    beside_good = set()
    for parent in {folder.parent for folder in others}:
        with suppress(DataError):  # it may be another user's
            if any(is_good(folder.name) for folder in list_entries(parent).folders):
                beside_good.add(parent)
    if doubtful := [folder for folder in others if folder.parent in beside_good]:
        more = f" (and {len(doubtful) - 1} more)" if len(doubtful) > 1 else ""
        _log.warning(
            "%s%s lies beside a folder of good images: if its images show defects, leave it out.",
            doubtful[0],
            more,
        )


def walk_good(folder: Path) -> Iterator[Entries]:
    """What is in a folder of good images and each of its subfolders.

    Where a folder holds a folder `train`, only that is used, and where it holds folders for which
    `is_good` holds, only those. So a category in the layout of MVTec AD, and a folder of several such
    categories, can be given as they are.

    Raises:
        DataError: A folder cannot be read, or by its name, some of its images may have defects.
    """
    return walk_folders(folder, look=_look)


def _look(folder: Path) -> Entries:
    entries = list_entries(folder)
    # Names may differ in case alone.
    inside = sorted(entries.folders, key=lambda path: (path.name.casefold(), path.name))
    chosen = [path for path in inside if path.name.casefold() == "train"]
    chosen = chosen or [path for path in inside if is_good(path.name)]
    if chosen:
        return Entries(chosen, [], [], [])
    for path in inside:
        # The results of `detect` may lie among the images; their pictures are marked.
        if may_hold_defects(path.name) and list_images(path, recursive=True):
            raise DataError(
                f"{path} may hold images with defects: give the folders of good images, or move them "
                "into a folder named good."
            )
    return entries._replace(folders=inside)
