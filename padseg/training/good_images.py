"""The good images in folders as users have them, and a layout for them."""

from collections.abc import Sequence
from pathlib import Path

from padseg.data.image_files import list_entries, list_images, suffixes, warn_of_foreign_images
from padseg.data.layouts import Layout, register
from padseg.data.samples import NORMAL_NAMES, OTHER_NAMES, Sample
from padseg.errors import DataError
from padseg.machine.files import absolute

LAYOUT = "good_images"


def good_images(folders: Sequence[Path], leave_out: Path | None = None) -> list[Path]:
    """The images below folders of good images, each once.

    Where a folder holds a folder `train`, only that is used, and where it holds a folder `good`, `normal`
    or `ok`, only that. So a category in the layout of MVTec AD, and a folder of several such categories,
    can be given as they are.

    Args:
        folders: The folders.
        leave_out: A folder whose images to ignore: that of the training, which may lie in one of them.

    Returns:
        Absolute paths.

    Raises:
        DataError: There are no folders, one is missing or holds no image, or some of its images may have defects.
    """
    if not folders:
        raise DataError("no folder is given to train on: name one or more with good images.")
    found: dict[Path, None] = {}
    others: list[Path] = []
    for given in folders:
        folder = absolute(given)
        if not folder.is_dir():
            raise DataError(f"{given} is not a folder: give folders of good images.")
        images = [
            path
            for path in _below(folder, (), others)
            if leave_out is None or not path.is_relative_to(leave_out)
        ]
        if not images:
            raise DataError(f"{given} holds no image ({suffixes()}).")
        found.update(dict.fromkeys(images))
    warn_of_foreign_images(others)
    return list(found)


def _below(folder: Path, above: tuple[Path, ...], others: list[Path]) -> list[Path]:
    """The images below a folder; the other files are added to `others`."""
    entries = list_entries(folder)
    # Names may differ in case alone.
    inside = sorted(entries.folders, key=lambda path: (path.name.casefold(), path.name))
    chosen = [path for path in inside if path.name.casefold() == "train"]
    chosen = chosen or [path for path in inside if path.name.casefold() in NORMAL_NAMES]
    images = [] if chosen else list_images(folder)
    if not chosen:
        others += entries.files
        for path in inside:
            if path.name.casefold() in OTHER_NAMES:
                raise DataError(
                    f"{path} may hold images with defects: give the folders of good images, or move them "
                    "into a folder named good."
                )
        chosen = inside
    above = (*above, folder.resolve())
    for path in chosen:
        target = path.resolve()
        if not any(outer.is_relative_to(target) for outer in above):  # not a link to a parent
            images += _below(path, above, others)
    return images


def register_good_images(images: Sequence[Path]) -> None:
    """Make these images the layout `good_images`, for any root and category."""
    samples = [Sample(path, "train") for path in images]
    register(LAYOUT, Layout(lambda root, category: list(samples), "the given folders"))
