"""The record of an image; `layouts` lists those of a data set."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GOOD = "good"
# Names of folders of good images, without accents and anything but letters and digits; in English, German, French,
# Italian, Spanish and pinyin. A public data set of castings has ok_front and def_front.
_GOOD_NAMES = frozenset(
    {
        *(GOOD, "normal", "ok", "okfront", "pass", "passed", "accepted", "intact", "undamaged"),
        *("flawless", "gut", "gutteile", "fehlerfrei", "io", "bon", "bons", "bonnes", "buono"),
        *("buoni", "bueno", "buenos", "conforme", "conformes", "hege", "liangpin"),
    }
)
_GOOD_STARTS = (
    *("defectfree", "nodefect", "nondefect", "defektfrei", "ohnefehler"),
    *("sansdefaut", "senzadifett", "sindefecto"),
)
# Likewise, of folders of masks.
_MASK_NAMES = frozenset({"mask", "masks", "maske", "masken", "annotations", "gt"})
_MASK_START = "groundtruth"
# Likewise, of folders whose images have defects, or may have some.
_OTHER_NAMES = frozenset(
    {
        *("test", "testing", "testimages", "testset", "deffront"),
        *("bad", "ng", "nok", "ko", "nio", "notok", "notgood", "nogood", "abnormal", "anomaly"),
        *("anomalies", "anomalous", "broken", "damaged", "fail", "failed", "faulty", "scrap"),
        *("ausschuss", "fehler", "fehlerhaft", "kaputt", "mauvais", "mauvaises", "rebut", "rebuts"),
        *("scarto", "scarti", "malo", "malos", "rechazado", "rechazados"),
        *("nonconforme", "nonconformes", "noconforme", "noconformes", "buhege", "buliangpin"),
    }
)
_OTHER_STARTS = ("defect", "defekt", "defaut", "difett", "reject", "schlecht")
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


def is_good(name: str) -> bool:
    """Whether a folder is named like one of good images."""
    plain = _plain(name)
    doubtful = "?" in name or "!" in name  # such as "OK?" and "!ok"
    return not doubtful and (plain in _GOOD_NAMES or plain.startswith(_GOOD_STARTS))


def may_hold_masks(name: str) -> bool:
    """Whether a folder is named like one of masks."""
    plain = _plain(name)
    return plain in _MASK_NAMES or plain.startswith(_MASK_START)


def may_hold_defects(name: str) -> bool:
    """Whether a folder is named like one of masks, of test images or of images with defects."""
    plain = _plain(name)
    other = plain in _OTHER_NAMES or plain.startswith(_OTHER_STARTS)
    return may_hold_masks(name) or (other and not is_good(name))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFD", name.casefold()))
