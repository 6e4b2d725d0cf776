"""Checks of single files: images that cannot be read, masks that do not match their image."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from padseg.data.depth import DARK
from padseg.data.findings import Finding
from padseg.data.images import Pixels, Size, image_pages, image_shape
from padseg.data.mask_files import possible_images
from padseg.data.masks import has_dark_regions, has_white_background, is_empty_mask, mask_share
from padseg.data.samples import GOOD, Sample
from padseg.errors import DataError, count
from padseg.machine.marks import is_marked
from padseg.machine.threads import map_in_threads


def check_files(
    samples: Sequence[Sample],
    *,
    masks_optional: bool = False,
    read: Callable[[Path], Pixels] | None = None,
) -> list[Finding]:
    """Unreadable files, misleading names, and masks that are missing, empty or of another size than their image.

    Args:
        samples: The samples to check.
        masks_optional: Whether all masks may be missing; some of them never may.
        read: Decodes the images, see `read_pixels`; None reads their headers.
    """
    defects = [sample for sample in samples if sample.defect != GOOD]
    unmasked = not any(sample.masks for sample in defects)
    look = partial(_check_sample, unmasked=unmasked, read=read)
    findings = [finding for found in map_in_threads(look, samples) for finding in found]
    findings = _join_inverted(findings, [mask for sample in defects for mask in sample.masks])
    if unmasked and defects:
        folder = Path(os.path.commonpath([sample.path.parent for sample in defects]))
        message = f"there is no mask for {count(len(defects), 'image')} with defects in {folder}: "
        if masks_optional:
            message += "there will be image figures only."
        else:
            message += "restore them, or pass --layout folder for image figures alone."
        findings.append(Finding("no masks" if masks_optional else "missing mask", folder, message))
    return findings + check_names([sample.path for sample in samples]) + _check_shared(defects)


def check_names(paths: Sequence[Path]) -> list[Finding]:
    """Images named like the mask of another one in their folder, or like a copy of it."""
    findings: list[Finding] = []
    first: dict[tuple[Path, str], Path] = {}
    for path in paths:
        first.setdefault((path.parent, path.stem), path)
    for path in paths:
        for name in possible_images(path.stem):
            other = first.get((path.parent, name))
            if other is None or other == path:
                continue
            if name == path.stem:
                message = (
                    f"{path} has the name of {other}: if it is a mask or a copy of that, remove it."
                )
                findings.append(Finding("one name", path, message))
            else:
                message = (
                    f"{path} lies among the images, but is named like a mask of {other}: move it to the masks, or "
                    "rename it."
                )
                findings.append(Finding("mask as image", path, message))
            break
    return findings


def _check_shared(samples: Sequence[Sample]) -> list[Finding]:
    """Masks that a list names for several images."""
    findings: list[Finding] = []
    first: dict[Path, Path] = {}
    for sample in samples:
        for mask in sample.masks:
            other = first.setdefault(mask, sample.path)
            if other != sample.path:
                message = f"mask {mask} is that of both {other} and {sample.path}: if they show different parts, correct one."
                findings.append(Finding("shared mask", mask, message))
    return findings


def _join_inverted(findings: list[Finding], masks: Sequence[Path]) -> list[Finding]:
    """Replace the findings about large masks by one that blocks if all masks are inverted."""
    large = [finding for finding in findings if finding.kind == "large mask"]
    files = {finding.file for finding in large}
    if not large or files != set(masks) or not all(has_white_background(mask) for mask in masks):
        return findings
    every = f"all {len(masks)} masks mark" if len(masks) > 1 else "the only mask marks"
    message = (
        f"{every} the background as the defect, such as {masks[0]}: make the background black and the "
        "defects white."
    )
    return [
        *(finding for finding in findings if finding.kind != "large mask"),
        Finding("inverted masks", masks[0], message),
    ]


def _check_sample(
    sample: Sample, *, unmasked: bool, read: Callable[[Path], Pixels] | None
) -> list[Finding]:
    path = sample.path
    findings = [
        Finding(
            "own picture", file, f"{file} was written by padseg: take it off the list of samples."
        )
        for file in (path, *sample.masks)
        if is_marked(file)
    ]
    try:
        if (pages := image_pages(path)) > 1:
            message = (
                f"{path} has {pages} pages or frames, of which only the first is used: save each as an image "
                "of its own."
            )
            findings.append(Finding("several pages", path, message))
        if read is not None:
            pixels = read(path)
            shape = pixels.size
            if pixels.brightest < DARK:
                message = (
                    f"{path} is nearly black, its brightest value is {pixels.brightest} of 255: if its pixels use "
                    "fewer than 16 bits, give their number to the training with --data.bits."
                )
                findings.append(Finding("dark", path, message))
        else:
            shape = image_shape(path)
    except DataError as error:
        return [Finding("unreadable", path, str(error))]
    if sample.defect != GOOD and not sample.masks and not unmasked:
        message = f"{path} shows a defect but has no mask: add {path.stem}_mask.png beside the other masks."
        return [*findings, Finding("missing mask", path, message)]
    if sample.defect == GOOD:
        return findings + _check_good(sample)
    return findings + _check_masks(sample, shape)


def _check_good(sample: Sample) -> list[Finding]:
    findings: list[Finding] = []
    for mask in sample.masks:
        try:
            if not is_empty_mask(mask):
                message = f"mask {mask} marks a defect, but {sample.path} is listed as good: correct one of them."
                findings.append(Finding("marked good", mask, message))
        except DataError as error:
            findings.append(Finding("unreadable", mask, str(error)))
    return findings


def _check_masks(sample: Sample, shape: Size) -> list[Finding]:
    findings, empty = [], bool(sample.masks)
    for mask in sample.masks:
        try:
            found, share, pages = image_shape(mask), mask_share(mask), image_pages(mask)
        except DataError as error:
            findings.append(Finding("unreadable", mask, str(error)))
            continue
        if pages > 1:
            message = (
                f"mask {mask} has {pages} pages, of which only the first would count: save each as a file of "
                "its own, such as ..._mask1 and ..._mask2."
            )
            findings.append(Finding("mask pages", mask, message))
        marked = float((share >= 0.5).mean())
        empty &= marked == 0
        if found != shape:
            message = (
                f"mask {mask} has {found[1]}x{found[0]} pixels, its image {sample.path} "
                f"{shape[1]}x{shape[0]}: give both the same size."
            )
            findings.append(Finding("mask size", mask, message))
        if has_dark_regions(share):
            message = (
                f"mask {mask} has regions darker than half of its brightest one, which count as normal: if "
                "they are defects, give all the same value."
            )
            findings.append(Finding("grey mask", mask, message))
        if marked > 0.5 and found == shape:
            message = (
                f"mask {mask} marks {marked:.0%} of its image as a defect: if that is the background, make it "
                "black, because every other value or colour is a defect."
            )
            findings.append(Finding("large mask", mask, message))
    if empty and not any(finding.blocks for finding in findings):
        mask = sample.masks[0]
        message = (
            f"mask {mask} is empty, but {sample.path} should show a defect: correct one of them."
        )
        findings.append(Finding("empty mask", mask, message))
    return findings
