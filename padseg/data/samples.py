"""The record of an image; `layouts` lists those of a data set."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from padseg.errors import DataError, count

GOOD = "good"
# Names that users give them, in upper or lower case.
NORMAL_NAMES = frozenset({GOOD, "normal", "ok"})
# Likewise, of folders whose images are no good ones, or need not be.
OTHER_NAMES = frozenset(
    {
        *("test", "ground_truth", "mask", "masks", "bad", "ng", "ko", "reject", "rejects"),
        *("defect", "defects", "defective", "anomaly", "anomalies", "anomalous", "broken"),
    }
)
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Sample:
    """One image of a category.

    Attributes:
        path: The image file.
        split: `train` and `validation` (normal images only) or `test`.
        defect: `good`, or the name of the kind of defect.
        masks: The masks of the defect, which are combined; none for a good image.
    """

    path: Path
    split: Split
    defect: str = GOOD
    masks: tuple[Path, ...] = ()


def split_held_out(paths: Sequence[Path], fraction: float) -> tuple[list[Path], list[Path]]:
    """Split the normal images into those to train on and those held out.

    A hash of the path below the common folder decides, so that both phases, all seeds and all machines
    hold out the same images. Files with equal names in several folders, such as the views of several
    cameras, are drawn independently.

    Args:
        paths: The files of the normal images.
        fraction: Share to hold out, in [0, 1).

    Returns:
        The files to train on, in the given order, and those held out, sorted.

    Raises:
        DataError: There are too few to hold any out.
    """
    if fraction == 0:
        return list(paths), []
    size = max(1, round(fraction * len(paths)))
    if size >= len(paths):
        raise DataError(
            f"{paths[0].parent} holds {count(len(paths), 'normal image')}, too few to hold {fraction:.0%} out: "
            "add images or pass --data.val_fraction 0."
        )
    names = dict(zip(paths, names_below_common(paths), strict=True))
    ranked = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(names[path])).digest())
    held_out = set(ranked[:size])
    return [path for path in paths if path not in held_out], sorted(held_out)


def names_below_common(paths: Sequence[Path]) -> list[str]:
    """The paths of files below the folder that all share, with forward slashes."""
    base = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(base).as_posix() for path in paths]
