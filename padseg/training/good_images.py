"""The good images in folders as users have them, and a layout for them."""

from collections.abc import Sequence
from pathlib import Path

from padseg.data.good_folders import walk_good, warn_of_neighbours
from padseg.data.image_files import Entries, sort_images, suffixes, warn_of_left_out
from padseg.data.layouts import Layout, register
from padseg.data.samples import Sample
from padseg.errors import DataError
from padseg.machine.files import absolute, expanded
from padseg.machine.marks import is_marked

LAYOUT = "good_images"


def good_images(
    folders: str | Path | Sequence[str | Path], leave_out: Sequence[str | Path | None] = ()
) -> list[Path]:
    """The images below folders of good images, each once; see `walk_good` for what is taken.

    Args:
        folders: The folders, or the only one.
        leave_out: Folders inside the given ones whose images are ignored, such as that of the textures.

    Returns:
        Absolute paths.

    Raises:
        DataError: There are no folders, one is missing or holds no image, or some of its images may have defects.
    """
    folders = [folders] if isinstance(folders, str | Path) else folders
    if not folders:
        raise DataError("no folder is given to train on: name one or more with good images.")
    given = list(map(expanded, folders))
    warn_of_neighbours(map(absolute, given))
    found: dict[Path, None] = {}
    walked: list[Entries] = []
    others = [absolute(expanded(path)) for path in leave_out if path is not None]
    for name in given:
        folder = absolute(name)
        if not folder.is_dir():
            raise DataError(f"{name} is not a folder: give folders of good images.")
        inside = [path for path in others if folder in path.parents]
        entries = [*walk_good(folder)]
        images = [
            path
            for one in entries
            for path in sort_images(one.files)
            if not is_marked(path) and not any(map(path.is_relative_to, inside))
        ]
        if not images:
            raise DataError(f"{name} holds no image ({suffixes()}).")
        found.update(dict.fromkeys(images))
        walked += entries
    warn_of_left_out(walked)
    return list(found)


def register_good_images(images: Sequence[Path]) -> None:
    """Make these images the layout `good_images`, for any root and category."""
    samples = [Sample(path, "train") for path in images]
    register(LAYOUT, Layout(lambda root, category: list(samples), "the given folders"))
