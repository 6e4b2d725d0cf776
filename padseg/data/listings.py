"""Listing functions for each layout, which return the samples of a category below a root.

MVTec AD: Bergmann et al., CVPR 2019. MVTec LOCO AD: Bergmann et al., IJCV 2022. MVTec AD 2:
Heckler-Kram et al., arXiv 2503.21622. BTAD: Mishra et al., ISIE 2021. VisA: Zou et al., ECCV 2022.
KolektorSDD: Tabernik et al., Journal of Intelligent Manufacturing 2020.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from padseg.data.image_files import list_entries, list_images
from padseg.data.mask_files import find_folder, find_masks, normalised, plain_name
from padseg.data.masks import is_empty_mask
from padseg.data.samples import GOOD, Sample, Split, is_good, may_hold_defects, may_hold_masks
from padseg.data.tables import find_table, list_table
from padseg.errors import DataError


def list_mvtec(root: Path, category: str) -> list[Sample]:
    """MVTec AD, BTAD, and MVTec LOCO AD, which has validation images and a folder of masks for each image.

    `<category>/{train,validation}/good/*`, `<category>/test/<defect>/*` and
    `<category>/ground_truth/<defect>/<stem>_mask.*`, `..._mask1.*` and so on, or `.../<defect>/<stem>/*`.
    BTAD calls its folders of good images `ok`.
    """
    folder = _category_folder(root, category)
    return _normal(folder) + _tested_beside_truth(folder)


def list_mvtec_ad_2(root: Path, category: str) -> list[Sample]:
    """MVTec AD 2, without its private test sets, which have no labels.

    `<category>/{train,validation}/good/*`, `<category>/test_public/{good,bad}/*` and
    `<category>/test_public/ground_truth/bad/<stem>_mask.*`.
    """
    folder = _category_folder(root, category)
    test = folder / "test_public"
    truth = find_folder(test, "ground_truth")
    return _normal(folder) + _tested(test, truth)


def list_visa(root: Path, category: str) -> list[Sample]:
    """VisA with its one-class split, `split_csv/1cls.csv`."""
    columns = {"object": "category", "image": "path"}
    return list_table(root, root / "split_csv" / "1cls.csv", category, columns)


def list_kolektorsdd(root: Path, category: str) -> list[Sample]:
    """KolektorSDD: `<category>/kos<number>/Part<number>.jpg`, each with a `..._label.bmp`.

    It has no split for training on normal images alone. Here, the normal images of every fifth item are
    for testing and the others for training, so that no item has normal images on both sides.
    """
    folder = _category_folder(root, category)
    samples = []
    for number, item in enumerate(_folders(folder)):
        images = {plain_name(path, item): path for path in list_images(item)}
        for name, path in images.items():
            if name.endswith("_label"):
                continue
            label = images.get(f"{name}_label")
            if label is None:
                raise DataError(f"{path} has no label: {item / name}_label.bmp is missing.")
            if not is_empty_mask(label):
                samples.append(Sample(path, "test", "defect", (label,)))
            else:
                samples.append(Sample(path, "test" if number % 5 == 4 else "train"))
    return samples


def list_folder(root: Path, category: str) -> list[Sample]:
    """A user's own folder: normal images, and anything else that there is.

    `samples.csv` or `samples.parquet` in `root`, see `tables`; else `<category>/train/**`, or the
    images that lie in `<category>` itself, `<category>/validation/**` (or `val`, `valid`),
    `<category>/test/good/**`, `<category>/test/<defect>/**` and masks as in MVTec AD. Masks may be missing
    altogether.

    Raises:
        DataError: An image lies directly in `test`, so that it is unknown whether it is good; or a folder
            in one of these may hold defects, by its name or because it lies beside one of good images.
    """
    table = find_table(root)
    if table is not None:
        return list_table(root, table, category)
    folder = _category_folder(root, category)
    train, test = find_folder(folder, "train"), find_folder(folder, "test")
    normal = list_images(train, recursive=True) if train.is_dir() else list_images(folder)
    validation = [find_folder(folder, name) for name in ("validation", "val", "valid")]
    held_out = [path for part in validation for path in list_images(part, recursive=True)]
    for path in list_images(test):
        raise DataError(
            f"{path} lies directly in {test}: move it to a folder good or one named after its defect."
        )
    tested = _tested_beside_truth(folder, recursive=True)
    kinds = {sample.defect.casefold() for sample in tested} - {GOOD}
    for part in (train, *validation):
        _refuse_defects(part, [*normal, *held_out], kinds)
    return [
        *(Sample(path, "train") for path in normal),
        *(Sample(path, "validation") for path in held_out),
        *tested,
    ]


def _refuse_defects(part: Path, images: Sequence[Path], defects: set[str]) -> None:
    """Refuse normal images in a folder of a part that is named like a defect; `defects` are in lower case."""
    folders = {image.parent for image in images}
    parents = folders.union(*(folder.parents for folder in folders))
    inside = sorted(folder for folder in parents if part in folder.parents)
    beside_good = {folder.parent for folder in inside if is_good(folder.name)}
    for folder in inside:
        name, beside = folder.name, folder.parent in beside_good
        if not is_good(name) and (beside or name.casefold() in defects or may_hold_defects(name)):
            reason = (
                "lies beside a folder of good images"
                if beside
                else "is named like a folder of defects"
            )
            raise DataError(
                f"{folder} {reason}, but everything in {part} counts as normal: move it elsewhere."
            )


def _category_folder(root: Path, category: str) -> Path:
    if category in ("", ".", "..") or Path(category).name != category:
        raise DataError(f"category {category!r} is not the name of a folder in {root}.")
    if not (root / category).is_dir():
        folders = _folders(root)
        alike = [path for path in folders if normalised(path.name) == normalised(category)]
        if len(alike) == 1:
            return alike[0]
        known = ", ".join(path.name for path in folders) or "none"
        too_deep = root.resolve().name == category
        hint = (
            f": if that is the category itself, pass {root.resolve().parent}." if too_deep else "."
        )
        if table := find_table(root):
            hint = f": to use its list {table.name}, pass --layout folder."
        raise DataError(f"category {category!r} does not exist in {root}, which has {known}{hint}")
    return root / category


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name, without hidden ones."""
    return sorted(list_entries(folder).folders, key=lambda path: path.name)


def _normal(folder: Path) -> list[Sample]:
    splits: tuple[Split, ...] = ("train", "validation")
    return [
        Sample(path, split)
        for split in splits
        for part in _folders(find_folder(folder, split))
        if is_good(part.name)
        for path in list_images(part)
    ]


def _tested_beside_truth(folder: Path, *, recursive: bool = False) -> list[Sample]:
    test, truth = find_folder(folder, "test"), find_folder(folder, "ground_truth")
    return _tested(test, truth, recursive=recursive)


def _tested(test: Path, truth: Path, *, recursive: bool = False) -> list[Sample]:
    samples = []
    for kind in _folders(test):
        if kind == truth:
            continue
        images = {path: plain_name(path, kind) for path in list_images(kind, recursive=recursive)}
        if is_good(kind.name):
            _refuse_mask_folders(images, kind, truth)
            samples += [Sample(path, "test") for path in images]
        else:
            masks = find_masks(find_folder(truth, kind.name), set(images.values()))
            _refuse_mask_folders(images, kind if masks else test, truth)
            _refuse_shared_names(images, masks)
            samples += [
                Sample(path, "test", kind.name, tuple(masks[name])) for path, name in images.items()
            ]
    return samples


def _refuse_mask_folders(images: Iterable[Path], above: Path, truth: Path) -> None:
    """Refuse test images in a folder that is named like one of masks, below another one."""
    for path in images:
        if any(map(may_hold_masks, path.parent.relative_to(above).parts)):
            raise DataError(
                f"{path.parent} is named like a folder of masks, but lies among the test images: move it to {truth}, "
                "or rename it if it holds images."
            )


def _refuse_shared_names(images: Mapping[Path, str], masks: Mapping[str, list[Path]]) -> None:
    """Refuse images whose names differ in their suffixes alone, if there is a mask of that name."""
    first: dict[str, Path] = {}
    for path, name in images.items():
        other = first.setdefault(name, path)
        if other != path and name in masks:
            raise DataError(
                f"{other} and {path} have one name, so that it is unknown whose mask {masks[name][0]} is: rename "
                "one of them, and its mask."
            )
