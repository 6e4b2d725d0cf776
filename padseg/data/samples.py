"""One record an image, and the image files of a folder; `layouts` makes the one from the other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from padseg.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
GOOD = "good"
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Sample:
    """One image of a category.

    Attributes:
        path: The image file.
        split: `train` and `validation` (normal images only) or `test`.
        defect: `good`, or the name of the kind of defect.
        masks: The masks of the defect, which add up; none for a good image.
    """

    path: Path
    split: Split
    defect: str = GOOD
    masks: tuple[Path, ...] = ()


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted by name; hidden files and folders are left out.

    The suffix decides, in any case. The order is that of the POSIX spelling of the paths, so that it
    is the same on every system.
    """
    found = folder.rglob("*") if recursive else folder.glob("*")
    images = (
        path
        for path in found
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    return sorted(images, key=lambda path: path.as_posix())


def list_textures(folder: Path) -> list[Path]:
    """The texture images below a folder, such as `dtd/images`.

    Raises:
        DataError: The folder is missing or holds no image.
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
