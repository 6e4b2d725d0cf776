"""The record of an image; `layouts` lists those of a data set."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


def names_below_common(paths: Sequence[Path]) -> list[str]:
    """The paths of files below the folder that all share, with forward slashes."""
    base = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(base).as_posix() for path in paths]
