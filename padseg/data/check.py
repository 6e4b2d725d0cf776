"""Check whether a data set can be used, before a mistake in it costs a run.

`AnomalyDataModule.setup` checks headers, masks and the bytes of files of equal size; `padseg check` also
decodes every image.
"""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from padseg.data.duplicates import check_duplicates
from padseg.data.file_checks import check_files
from padseg.data.findings import Finding, Severity
from padseg.data.images import Size, measure_bits, read_pixels
from padseg.data.layouts import LAYOUTS, list_trainable
from padseg.data.loco import CONFIG_FILE, read_saturations
from padseg.data.mask_files import find_folder
from padseg.data.reduction import count_masks, find_losses
from padseg.data.samples import GOOD, Sample
from padseg.data.testset import find_other_metric, find_unknown_defects
from padseg.data.unused import check_unused
from padseg.errors import DataError, count
from padseg.machine.console import print_figures, say
from padseg.machine.progress import working

_MARKS: dict[Severity, str] = {"blocks": "error", "changes figures": "warning", "note": "note"}

_SIZE_OPTION = "--image-size, which is --model.image_size of a training"
_HEADERS = (
    *("category", "train", "validation", "test\ngood", "test\ndefect"),
    *("masks", "findings"),
)


def check(
    root: Path, categories: Sequence[str], layout: str = "mvtec", image_size: Size = (256, 256)
) -> list[Finding]:
    """Check categories, show their counts and findings, and return all findings.

    Masks are checked as they will be reduced, to `image_size`.

    Raises:
        DataError: Raised at the end if some categories cannot be used.
    """
    rows = []
    findings: dict[str, list[Finding]] = {}
    for category in categories:
        with working(f"Checking {category}"):
            findings[category] = check_category(root, category, layout, image_size)
        counts = _counts(root, category, layout)
        rows.append([category, *counts, str(len(findings[category]))])
    print_figures(f"{root} ({layout})", _HEADERS, rows)
    every = [finding for found in findings.values() for finding in found]
    for finding in every:
        say(f"{_MARKS[finding.severity]}: {finding.message}")
    unusable = [name for name, found in findings.items() if any(f.blocks for f in found)]
    if unusable:
        raise DataError(
            f"{len(unusable)} of {count(len(findings), 'category', 'categories')} cannot be used ({', '.join(unusable)}): "
            "fix the errors above."
        )
    return every


def _counts(root: Path, category: str, layout: str) -> list[str]:
    try:
        samples = list_trainable(root, category, layout)
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


def check_category(
    root: Path, category: str, layout: str = "mvtec", image_size: Size = (256, 256)
) -> list[Finding]:
    """All findings about a category; each image is decoded."""
    try:
        samples = list_trainable(root, category, layout)
    except DataError as error:
        return [Finding("not listed", root / category, str(error))]
    folder, tested = find_folder(root, category), [s for s in samples if s.split == "test"]
    bits = measure_bits([sample.path for sample in samples if sample.split != "test"])
    read = cache(partial(read_pixels, bits=bits))  # two checks need the pixels of every image
    findings = check_files(samples, masks_optional=LAYOUTS[layout].masks_optional, read=read)
    blocking = {finding.file for finding in findings if finding.blocks}
    saturations = None
    try:
        saturations = read_saturations(folder)
    except DataError as error:
        findings.append(Finding("unreadable", folder / CONFIG_FILE, str(error)))
    unknown = find_unknown_defects(tested, saturations)
    return [
        *findings,
        *(finding for finding in unknown if finding.file not in blocking),
        *check_duplicates(samples, read),
        *find_losses(count_masks(tested, image_size), image_size, folder, _SIZE_OPTION),
        *find_other_metric(folder, layout, saturations),
        *_check_test_set(folder, tested),
        *check_unused(folder, samples, layout),
    ]


def _check_test_set(folder: Path, tested: Sequence[Sample]) -> list[Finding]:
    if not tested:
        return [Finding("no test images", folder, f"{folder} has no test images to evaluate on.")]
    sides = {sample.defect == GOOD for sample in tested}
    if len(sides) == 2:
        return []
    lacking = "image with a defect" if True in sides else "good image"
    message = f"{folder} has no {lacking} to test with: image figures will be undefined."
    return [Finding("one-sided test", folder, message)]
