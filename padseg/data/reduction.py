"""What becomes of the defects of masks that are reduced to the size of the network."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from padseg.data.findings import Finding
from padseg.data.images import Size
from padseg.data.masks import read_masks, read_own_masks
from padseg.data.samples import GOOD, Sample
from padseg.errors import DataError
from padseg.machine.threads import map_in_threads
from padseg.metrics.evaluation import MaskCounts


def count_masks(samples: Sequence[Sample], size: Size | None) -> MaskCounts:
    """Count the masks of samples, and what is lost of them.

    Args:
        samples: Good ones and those without masks do not count, nor do those whose masks cannot be used, which
            `check_files` reports.
        size: (H, W) to which the masks are reduced; None for their own size.
    """

    def count(sample: Sample) -> MaskCounts:
        try:
            return _count(sample.masks, size)
        except (DataError, ValueError):  # the latter for masks of several sizes
            return MaskCounts()

    masked = [sample for sample in samples if sample.masks and sample.defect != GOOD]
    return sum(map_in_threads(count, masked), MaskCounts())


def find_losses(
    counts: MaskCounts, size: Size, folder: Path, option: str = "--model.image_size"
) -> list[Finding]:
    """The finding that figures of a category at this size miss defects, if any are lost; `option` sets the size."""
    if not counts.lost_regions:
        return []
    empty = (
        f", and {counts.lost_images} of {counts.images} masks with them"
        if counts.lost_images
        else ""
    )
    message = (
        f"{folder}: reduced to {size[0]}x{size[1]} pixels, {counts.lost_regions} of {counts.regions} defect regions "
        f"vanish{empty}, so that pixel figures count their pixels as normal: raise {option}, or evaluate at the "
        "images' own size with --data.evaluation native."
    )
    return [Finding("lost regions", folder, message)]


def _count(masks: Sequence[Path], size: Size | None) -> MaskCounts:
    own = read_own_masks(masks)
    count, regions = cv2.connectedComponents(own, connectivity=8)
    if size is None:
        return MaskCounts(images=1, regions=count - 1)
    reduced = read_masks(masks, size)
    lost = count - 1 - _kept(np.asarray(regions, dtype=np.int32), reduced)
    return MaskCounts(1, int(not reduced.any()), count - 1, lost)


def _kept(regions: NDArray[np.int32], reduced: NDArray[np.uint8]) -> int:
    """The number of regions that contain a pixel of the reduced mask, or a part of it.

    Less than half of the filter's weight lies outside of the pixel itself, so that a pixel that is cut at
    one half always lies on a region.
    """
    rows, columns = (
        ((np.arange(length) + 0.5) * target / length).astype(np.intp)
        for length, target in zip(regions.shape, reduced.shape, strict=True)
    )
    found = np.unique(regions[reduced[rows][:, columns] > 0])
    return int(np.count_nonzero(found))
