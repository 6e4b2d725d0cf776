"""Is a data set fit to train and test on? What is wrong is found before it costs a run.

`AnomalyDataModule.setup` looks at headers, masks and the bytes of files of equal size; `padseg check`
decodes every image besides.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from padseg.data.images import (
    Size,
    decode,
    has_dark_regions,
    image_shape,
    is_empty_mask,
    refuse,
)
from padseg.data.layouts import LAYOUTS, list_samples
from padseg.data.samples import GOOD, IMAGE_SUFFIXES, NORMAL_NAMES, Sample, suffixes, walk
from padseg.errors import DataError
from padseg.machine.threads import map_in_threads

Kind = Literal[
    "not listed",
    "unreadable",
    "missing mask",
    "mask size",
    "empty mask",
    "grey mask",
    "train and test",
    "duplicate",
    "orphan mask",
    "unused",
    "no masks",
    "no test images",
    "one-sided test",
    "dark",
]
BLOCKING: frozenset[Kind] = frozenset(
    {"not listed", "unreadable", "missing mask", "mask size", "empty mask", "train and test"}
)
_MIDDLE = 4096
_DARK = 32  # of 255


@dataclass(frozen=True)
class Finding:
    """Something wrong with a data set.

    Attributes:
        kind: What it is.
        path: The file or folder.
        told: A sentence that names the file and says what to do.
    """

    kind: Kind
    path: Path
    told: str

    @property
    def blocking(self) -> bool:
        """Whether it would silently spoil results, so that training and test refuse it."""
        return self.kind in BLOCKING


def check_category(root: Path, category: str, layout: str = "mvtec") -> list[Finding]:
    """Everything that can be found out about a category; each image is decoded."""
    try:
        samples = list_samples(root, category, layout)
    except DataError as error:
        return [Finding("not listed", root / category, str(error))]
    return [
        *check_files(samples, masks_optional=layout == "folder", decoded=True),
        *check_duplicates(samples, content=_pixels, within=True),
        *_check_test_set(root / category, samples),
        *_check_unused(root / category, samples, layout),
    ]


def check_files(
    samples: Sequence[Sample], *, masks_optional: bool = False, decoded: bool = False
) -> list[Finding]:
    """Unreadable files, and masks that are missing, empty or of another size than their image.

    Args:
        samples: What to look at.
        masks_optional: Whether masks may be missing altogether; a part of them never may.
        decoded: Whether to decode the images instead of reading their headers.
    """
    defects = [sample for sample in samples if sample.defect != GOOD]
    unmasked = masks_optional and not any(sample.masks for sample in defects)
    look = partial(_check_sample, unmasked=unmasked, decoded=decoded)
    findings = [finding for found in map_in_threads(look, samples) for finding in found]
    if unmasked and defects:
        told = f"none of the {len(defects)} defects has a mask: there will be image figures only."
        findings.append(Finding("no masks", defects[0].path.parent.parent, told))
    return findings


def _check_sample(sample: Sample, *, unmasked: bool, decoded: bool) -> list[Finding]:
    path = sample.path
    findings = []
    try:
        if decoded:
            pixels = decode(path)
            shape = pixels.shape[:2]
            if (brightest := int(pixels.max())) < _DARK:
                told = (
                    f"{path} is nearly black, its brightest value is {brightest} of 255: if it has 16 bits "
                    "of which a camera fills 10 or 12, stretch them (and those of all other images)."
                )
                findings.append(Finding("dark", path, told))
        else:
            shape = image_shape(path)
    except DataError as error:
        return [Finding("unreadable", path, str(error))]
    if sample.defect != GOOD and not sample.masks and not unmasked:
        told = (
            f"{path} shows a defect but has no mask: add {path.stem}_mask.png where its like are."
        )
        return [*findings, Finding("missing mask", path, told)]
    return findings + _check_masks(sample, (shape[0], shape[1]), decoded)


def _check_masks(sample: Sample, shape: Size, decoded: bool) -> list[Finding]:
    findings, empty = [], bool(sample.masks)
    for mask in sample.masks:
        try:
            found = image_shape(mask)
            empty &= is_empty_mask(mask)
            grey = decoded and has_dark_regions(mask)
        except DataError as error:
            findings.append(Finding("unreadable", mask, str(error)))
            continue
        if found != shape:
            told = (
                f"mask {mask} has {found[1]}x{found[0]} pixels, its image {sample.path} "
                f"{shape[1]}x{shape[0]}: give both the same size."
            )
            findings.append(Finding("mask size", mask, told))
        if grey:
            told = (
                f"mask {mask} has regions darker than half of its brightest one, which count as normal: if "
                "they are defects, give all the same value."
            )
            findings.append(Finding("grey mask", mask, told))
    if empty and not any(finding.blocking for finding in findings):
        mask = sample.masks[0]
        told = (
            f"mask {mask} is empty, but {sample.path} is said to show a defect: mend one of them."
        )
        findings.append(Finding("empty mask", mask, told))
    return findings


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _pixels(path: Path) -> bytes:
    pixels = decode(path)
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes()).digest()


def check_duplicates(
    samples: Sequence[Sample],
    *,
    content: Callable[[Path], bytes] = _bytes,
    within: bool = False,
) -> list[Finding]:
    """Images that lie on both sides of the split, by their content.

    Args:
        samples: All samples of a category.
        content: A digest of what counts as content. With that of the file's bytes, a file is read whole
            only when the other side has one of its size with its middle.
        within: Whether to look for images that are twice on one side too.
    """
    tested = [sample.path for sample in samples if sample.split == "test"]
    trained = [sample.path for sample in samples if sample.split != "test"]
    if content is _bytes:
        for quick in (_size, _middle):
            keys = {path: quick(path) for path in (*tested, *trained)}
            shared = {keys[path] for path in tested} & {keys[path] for path in trained} - {None}
            tested = [path for path in tested if keys[path] in shared]
            trained = [path for path in trained if keys[path] in shared]
    of_test, of_train = _by_content(tested, content), _by_content(trained, content)
    findings = [
        Finding(
            "train and test",
            path,
            f"{path} is the image {of_train[key][0]}, which is trained on: remove one of them.",
        )
        for key in of_test.keys() & of_train.keys()
        for path in of_test[key]
    ]
    if within:
        findings += [
            Finding("duplicate", path, f"{path} is the image {same[0]} once more.")
            for side in (of_train, of_test)
            for same in side.values()
            for path in same[1:]
        ]
    return sorted(findings, key=lambda finding: finding.path.as_posix())


def _by_content(paths: Iterable[Path], content: Callable[[Path], bytes]) -> dict[bytes, list[Path]]:
    """Files by their content; what cannot be read is told by `check_files`."""
    paths = list(dict.fromkeys(paths))
    found: defaultdict[bytes, list[Path]] = defaultdict(list)

    def digest(path: Path) -> bytes | None:
        try:
            return content(path)
        except (DataError, OSError, ValueError):
            return None

    for path, key in zip(paths, map_in_threads(digest, paths), strict=True):
        if key is not None:
            found[key].append(path)
    return found


def _size(path: Path) -> int | None:
    """In bytes; None where there is nothing."""
    try:
        return path.stat().st_size or None
    except (OSError, ValueError):
        return None


def _middle(path: Path) -> bytes | None:
    """A digest of some bytes from the middle, where uncompressed images of one size differ."""
    try:
        with path.open("rb") as file:
            file.seek(path.stat().st_size // 2)
            return hashlib.blake2b(file.read(_MIDDLE), digest_size=16).digest()
    except (OSError, ValueError):
        return None


def _check_test_set(folder: Path, samples: Sequence[Sample]) -> list[Finding]:
    tested = [sample for sample in samples if sample.split == "test"]
    if not tested:
        return [Finding("no test images", folder, f"{folder} has no test images to evaluate on.")]
    sides = {sample.defect == GOOD for sample in tested}
    if len(sides) == 2:
        return []
    lacking = "image with a defect" if True in sides else "good image"
    told = f"{folder} has no {lacking} to test with: image figures will be undefined."
    return [Finding("one-sided test", folder, told)]


def _check_unused(folder: Path, samples: Sequence[Sample], layout: str) -> list[Finding]:
    """Masks of no image, and images that are none to padseg or lie where the layout has none."""
    try:
        files = sorted(walk(folder))
    except DataError as error:
        return [Finding("unused", folder, str(error))]
    used = {path for sample in samples for path in (sample.path, *sample.masks)}
    masks, ignored = LAYOUTS[layout].masks, LAYOUTS[layout].ignored
    orphans: list[Path] = []
    others: defaultdict[tuple[Path, bool], list[str]] = defaultdict(list)
    known = Image.registered_extensions().keys() | IMAGE_SUFFIXES
    for path in files:
        suffix, inside = path.suffix.lower(), path.relative_to(folder)
        if path in used or suffix not in known or inside.parts[0] in ignored:
            continue
        readable = suffix in IMAGE_SUFFIXES
        if masks is None and path.stem.endswith("_label"):  # of a good image
            continue
        if readable and masks is not None and inside.is_relative_to(masks):
            if inside.parent.name.casefold() not in NORMAL_NAMES:
                orphans.append(path)
        else:
            others[path.parent, readable].append(path.name)
    return [
        *(
            Finding("orphan mask", path, f"mask {path} belongs to no test image.")
            for path in orphans
        ),
        *(
            Finding(
                "unused",
                parent,
                f"{parent} holds images that are not used ({len(names)}, such as {names[0]}): "
                + (
                    f"move them to where layout {layout!r} has its images."
                    if readable
                    else f"padseg reads {suffixes()}."
                ),
            )
            for (parent, readable), names in others.items()
        ),
    ]


def refuse_blocking(findings: Iterable[Finding]) -> None:
    """Stop before results are spoilt.

    Raises:
        DataError: Some findings are blocking; the message names every file.
    """
    refuse([finding.told for finding in findings if finding.blocking])


def check(root: Path, categories: Sequence[str], layout: str = "mvtec") -> list[Finding]:
    """Check categories and show their counts and findings.

    Returns:
        All findings.

    Raises:
        DataError: At the end, if some categories cannot be used.
    """
    console = Console(markup=False)  # names may hold brackets
    table = Table(title=f"{root} ({layout})", box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("category", no_wrap=True)
    for header in ("train", "validation", "test good", "test defect", "masks", "findings"):
        table.add_column(header, justify="right")
    findings: dict[str, list[Finding]] = {}
    for category in categories:
        with console.status(f"Checking {escape(category)}"):
            findings[category] = check_category(root, category, layout)
        table.add_row(category, *_counts(root, category, layout), str(len(findings[category])))
    console.print(table)
    for finding in (finding for found in findings.values() for finding in found):
        mark = "error" if finding.blocking else "note"
        console.print(f"{mark}: {finding.told}", highlight=False, soft_wrap=True)
    unusable = [name for name, found in findings.items() if any(f.blocking for f in found)]
    if unusable:
        raise DataError(
            f"{len(unusable)} of {len(findings)} categories cannot be used ({', '.join(unusable)}): "
            "mend the errors above."
        )
    return [finding for found in findings.values() for finding in found]


def _counts(root: Path, category: str, layout: str) -> list[str]:
    try:
        samples = list_samples(root, category, layout)
    except DataError:
        return ["-"] * 5
    tested = [sample for sample in samples if sample.split == "test"]
    good = sum(sample.defect == GOOD for sample in tested)
    counts = (
        sum(sample.split == "train" for sample in samples),
        sum(sample.split == "validation" for sample in samples),
        good,
        len(tested) - good,
        sum(len(sample.masks) for sample in tested),
    )
    return [str(count) for count in counts]
