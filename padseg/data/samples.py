"""The record of an image; `layouts` lists those of a data set."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GOOD = "good"
# Names that users give them, in upper or lower case.
NORMAL_NAMES = frozenset({GOOD, "normal", "ok"})
# Likewise, of folders whose images have defects, or may have some, without blanks, "_" and "-".
_OTHER_NAMES = frozenset(
    {
        *("test", "testing", "testimages", "testset", "mask", "masks", "annotations"),
        *("bad", "ng", "nok", "ko", "nio", "notok", "notgood", "nogood", "abnormal", "anomaly"),
        *("anomalies", "anomalous", "broken", "damaged", "fail", "failed", "faulty", "scrap"),
    }
)
_OTHER_STARTS = ("defect", "groundtruth", "reject")
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Sample:
    """One image of a category.

    Attributes:
        path: The image file.
        split: `train` and `validation` (normal images only) or `test`.
        defect: `good`, or the name of the kind of defect.
        masks: The masks of the defect, which are combined; those of a good image, which lists may name, are empty.
    """

    path: Path
    split: Split
    defect: str = GOOD
    masks: tuple[Path, ...] = ()


def names_below_common(paths: Sequence[Path]) -> list[str]:
    """The paths of files below the folder that all share, with forward slashes."""
    base = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(base).as_posix() for path in paths]


def may_hold_defects(name: str) -> bool:
    """Whether a folder is named like one of masks, of test images or of images with defects."""
    plain = re.sub(r"[\s_-]", "", name.casefold())
    other = plain in _OTHER_NAMES or plain.startswith(_OTHER_STARTS)
    return other and not plain.startswith("defectfree")
