"""The defects of MVTec LOCO AD: one mask each, with the area at which it counts as found.

Bergmann et al., "Beyond Dents and Scratches", IJCV 2022, section 4.2.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from padseg.data.images import open_image
from padseg.errors import DataError

CONFIG_FILE = "defects_config.json"


@dataclass(frozen=True)
class Saturation:
    """When a kind of defect counts as found.

    Attributes:
        threshold: Number of its pixels or, if `relative`, share of them.
        relative: Which of both.
    """

    threshold: float
    relative: bool

    def pixels(self, area: int) -> int:
        """The pixels that suffice for a defect of some area, whole ones and at least one."""
        wanted = self.threshold * area if self.relative else self.threshold
        return max(1, min(area, int(wanted)))


Saturations = Mapping[int, Saturation]  # by the value of the defect's pixels in its mask


def read_saturations(folder: Path) -> Saturations | None:
    """Read the configuration of a category; None if there is none, or an empty one.

    Raises:
        DataError: It is broken.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        found = {
            int(kind["pixel_value"]): Saturation(
                float(kind["saturation_threshold"]), bool(kind["relative_saturation"])
            )
            for kind in json.loads(path.read_text(encoding="utf-8"))
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is broken ({type(error).__name__}: {error}): restore it, or remove it, so that sPRO is not "
            "computed."
        ) from error
    return found or None


def read_defects(
    masks: Sequence[Path], saturations: Saturations
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Read the masks of an image, at its own size.

    Args:
        masks: One file for each defect; at least one.
        saturations: See `read_saturations`.

    Returns:
        (C, H, W), the pixels of each defect; and (C,), how many of them suffice.

    Raises:
        DataError: A mask cannot be read, or does not have one value that the configuration names.
    """
    defects, needed = [], []
    for path in masks:
        values = open_image(path, lambda image: np.asarray(image.convert("L")))
        own = np.unique(values[values > 0])
        if len(own) != 1 or int(own[0]) not in saturations:
            raise DataError(
                f"mask {path} has the values {own.tolist()} besides 0; give it one of those in {CONFIG_FILE}, "
                f"{sorted(saturations)}, or remove that file, so that sPRO is not computed."
            )
        defects.append(values > 0)
        needed.append(saturations[int(own[0])].pixels(int(defects[-1].sum())))
    return np.stack(defects), np.array(needed, dtype=np.int64)
