"""The layouts of data sets by name; to add one, write a listing function and register it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from padseg.data.image_files import cannot_read, suffixes
from padseg.data.listings import (
    list_folder,
    list_kolektorsdd,
    list_mvtec,
    list_mvtec_ad_2,
    list_visa,
)
from padseg.data.samples import Sample
from padseg.errors import DataError
from padseg.machine.files import expanded
from padseg.options import one_of


@dataclass(frozen=True)
class Layout:
    """The folder structure of a kind of data set.

    Attributes:
        list: Lists all samples of a category, given the folder of the data set and the category.
        train: Place of the normal training images of a category, for messages.
        masks: Folder of the masks in the folder of a category; None if they lie beside the images.
        ignored: Folders of a category with images that are not used.
        masks_optional: Whether a category may have no masks at all.
    """

    list: Callable[[Path, str], list[Sample]]
    train: str
    masks: str | None = "ground_truth"
    ignored: tuple[str, ...] = ()
    masks_optional: bool = False


LAYOUTS: dict[str, Layout] = {
    "mvtec": Layout(list_mvtec, "train/good"),
    "mvtec_loco": Layout(list_mvtec, "train/good"),
    "mvtec_ad_2": Layout(
        list_mvtec_ad_2,
        "train/good",
        "test_public/ground_truth",
        ("test_private", "test_private_mixed"),
    ),
    "btad": Layout(list_mvtec, "train/ok"),
    "visa": Layout(list_visa, "split_csv/1cls.csv", "Data/Masks"),
    "kolektorsdd": Layout(list_kolektorsdd, "kos01 and so on", None),
    "folder": Layout(
        list_folder, "train, in the folder itself or in samples.csv", masks_optional=True
    ),
}


def register(name: str, layout: Layout) -> None:
    """Add a layout; one of the same name is replaced."""
    LAYOUTS[name] = layout


def list_samples(root: str | Path, category: str, layout: str = "mvtec") -> list[Sample]:
    """All samples of a category.

    Files are listed but not opened (except KolektorSDD's masks); `padseg.data.check` reads them.

    Raises:
        DataError: The root or the category is missing, or a folder cannot be read.
        ConfigError: There is no such layout.
    """
    one_of("layout", layout, LAYOUTS)
    root = expanded(root)
    if not root.is_dir():
        what = "is a file" if root.is_file() else "does not exist"
        raise DataError(f"data root {root} {what}: name the data set's folder.")
    try:
        return LAYOUTS[layout].list(root, category)
    except PermissionError as error:  # from looking at a single file or folder
        raise cannot_read(error.filename, error) from error


def list_trainable(root: Path, category: str, layout: str = "mvtec") -> list[Sample]:
    """As `list_samples`, of a category to train on.

    Raises:
        DataError: Also if there are no normal training images.
    """
    samples = list_samples(root, category, layout)
    if not any(sample.split == "train" for sample in samples):
        others = ", ".join(name for name in LAYOUTS if name != layout)
        raise DataError(
            f"{root / category} holds no normal training images ({suffixes()}) in "
            f"{LAYOUTS[layout].train}, where layout {layout!r} has them: move them there, or pass another --layout "
            f"({others})."
        )
    return samples


def has_test_images(root: Path, category: str, layout: str) -> bool:
    """Whether a category has images to test with; raises as `list_trainable`."""
    return any(sample.split == "test" for sample in list_trainable(root, category, layout))
