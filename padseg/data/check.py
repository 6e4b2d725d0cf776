"""Check whether a data set can be used, before a mistake in it costs a run.

`AnomalyDataModule.setup` checks headers, masks and the bytes of files of equal size; `padseg check` also
decodes every image.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from padseg.data.duplicates import check_duplicates, hash_pixels
from padseg.data.file_checks import check_files
from padseg.data.findings import Finding
from padseg.data.image_files import IMAGE_SUFFIXES, suffixes, walk
from padseg.data.layouts import LAYOUTS, list_samples
from padseg.data.samples import GOOD, NORMAL_NAMES, Sample
from padseg.errors import DataError
from padseg.machine.marks import is_marked


def check(root: Path, categories: Sequence[str], layout: str = "mvtec") -> list[Finding]:
    """Check categories and show their counts and findings.

    Returns:
        All findings.

    Raises:
        DataError: Raised at the end if some categories cannot be used.
    """
    console = Console(markup=False)  # names may contain brackets
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
        mark = "error" if finding.blocks else "note"
        console.print(f"{mark}: {finding.message}", highlight=False, soft_wrap=True)
    unusable = [name for name, found in findings.items() if any(f.blocks for f in found)]
    if unusable:
        raise DataError(
            f"{len(unusable)} of {len(findings)} categories cannot be used ({', '.join(unusable)}): "
            "fix the errors above."
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


def check_category(root: Path, category: str, layout: str = "mvtec") -> list[Finding]:
    """All findings about a category; each image is decoded."""
    try:
        samples = list_samples(root, category, layout)
    except DataError as error:
        return [Finding("not listed", root / category, str(error))]
    return [
        *check_files(samples, masks_optional=LAYOUTS[layout].masks_optional, decoded=True),
        *check_duplicates(samples, content=hash_pixels, within=True),
        *_check_test_set(root / category, samples),
        *_check_unused(root / category, samples, layout),
    ]


def _check_test_set(folder: Path, samples: Sequence[Sample]) -> list[Finding]:
    tested = [sample for sample in samples if sample.split == "test"]
    if not tested:
        return [Finding("no test images", folder, f"{folder} has no test images to evaluate on.")]
    sides = {sample.defect == GOOD for sample in tested}
    if len(sides) == 2:
        return []
    lacking = "image with a defect" if True in sides else "good image"
    message = f"{folder} has no {lacking} to test with: image figures will be undefined."
    return [Finding("one-sided test", folder, message)]


def _check_unused(folder: Path, samples: Sequence[Sample], layout: str) -> list[Finding]:
    """Masks without an image, and images that padseg cannot read or that the layout does not use."""
    try:
        files = sorted(walk(folder))
    except DataError as error:
        return [Finding("unused", folder, str(error))]
    used = {path for sample in samples for path in (sample.path, *sample.masks)}
    masks, ignored = LAYOUTS[layout].masks, LAYOUTS[layout].ignored
    orphans: list[Path] = []
    others: defaultdict[tuple[Path, bool], list[str]] = defaultdict(list)
    own: defaultdict[Path, list[str]] = defaultdict(list)
    known = Image.registered_extensions().keys() | IMAGE_SUFFIXES
    for path in files:
        suffix, inside = path.suffix.lower(), path.relative_to(folder)
        if path in used or suffix not in known or inside.parts[0] in ignored:
            continue
        if is_marked(path):
            own[path.parent].append(path.name)
            continue
        readable = suffix in IMAGE_SUFFIXES
        if masks is None and path.stem.endswith("_label"):  # the mask of a good image
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
        *(
            Finding(
                "unused",
                parent,
                f"{parent} holds pictures that padseg wrote ({len(names)}, such as {names[0]}): they are "
                "left out.",
            )
            for parent, names in own.items()
        ),
    ]
