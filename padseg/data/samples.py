"""What lies in a data set folder: one listing function a layout, one record an image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from padseg.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
GOOD = "good"


@dataclass(frozen=True)
class Sample:
    """One image of a category.

    Attributes:
        path: The image file.
        split: `train` (normal images only) or `test`.
        defect: `good`, or the name of the kind of defect.
        mask: The mask of the defect; None for a good image.
    """

    path: Path
    split: Literal["train", "test"]
    defect: str = GOOD
    mask: Path | None = None


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
        raise DataError(f"texture folder {folder} holds no image ({_suffixes()}).")
    return textures


def list_mvtec(root: Path, category: str) -> list[Sample]:
    """The layout of MVTec AD (Bergmann et al., CVPR 2019).

    `<category>/train/good/*`, `<category>/test/<defect>/*` and
    `<category>/ground_truth/<defect>/<stem>_mask.*`.
    """
    folder = root / category
    train = [Sample(path, "train") for path in list_images(folder / "train" / GOOD)]
    defects = sorted(
        path.name
        for path in (folder / "test").glob("*")
        if path.is_dir() and not path.name.startswith(".")
    )
    test = [sample for defect in defects for sample in _mvtec_test_samples(folder, defect)]
    return train + test


def _mvtec_test_samples(folder: Path, defect: str) -> list[Sample]:
    images = list_images(folder / "test" / defect)
    if defect == GOOD:
        return [Sample(path, "test") for path in images]
    masks = {path.stem: path for path in list_images(folder / "ground_truth" / defect)}
    samples = []
    for path in images:
        mask = masks.get(f"{path.stem}_mask", masks.get(path.stem))
        if mask is None:
            expected = folder / "ground_truth" / defect / f"{path.stem}_mask.png"
            raise DataError(f"{path} shows a defect but has no mask: {expected} is missing.")
        samples.append(Sample(path, "test", defect, mask))
    return samples


LAYOUTS: dict[str, Callable[[Path, str], list[Sample]]] = {"mvtec": list_mvtec}


def list_samples(root: Path, category: str, layout: str = "mvtec") -> list[Sample]:
    """All samples of a category.

    Raises:
        DataError: The root or the category is missing, there are no normal training images, or a
            defect image has no mask.
    """
    if not root.is_dir():
        raise DataError(
            f"data root {root} does not exist: --data.root names the data set's folder."
        )
    if not (root / category).is_dir():
        known = _names(path.name for path in root.glob("*") if (path / "train").is_dir())
        raise DataError(f"category {category!r} does not exist in {root}, which has {known}.")
    samples = LAYOUTS[layout](root, category)
    if not any(sample.split == "train" for sample in samples):
        folder = root / category / "train" / GOOD
        raise DataError(f"{folder} holds no normal training images ({_suffixes()}).")
    return samples


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
