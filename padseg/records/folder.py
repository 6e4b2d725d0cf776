"""What an evaluation saves: a table with one row per image, and small pictures of some of them.

    images.csv                 index, path, defect, label, image_score, anomalous; all images
    maps/<index>.png           score map, 16-bit grey, round(score * 65535)
    thumbs/<index>.jpg         the image; like maps and masks at its own aspect ratio
    masks/<index>.png          mask of a defect image, 1 bit, at the map's size

The index has five digits. The table is written last: without it, a folder holds no records.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from padseg.records.pictures import KINDS, picture_path
from padseg.records.score_maps import from_grey
from padseg.records.table import TABLE, read_table


@dataclass(frozen=True)
class Records:
    """The records in a folder.

    Attributes:
        folder: Their folder.
        table: One row per image, ordered by index, with the columns of `ImageRow`.
    """

    folder: Path
    table: pd.DataFrame

    def image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        with Image.open(picture_path(self.folder, "thumbs", index)) as image:
            return np.array(image, dtype=np.uint8)

    def score_map(self, index: int) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1]."""
        with Image.open(picture_path(self.folder, "maps", index)) as image:
            return from_grey(np.asarray(image))

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(H, W) bool; empty for a normal image."""
        path = picture_path(self.folder, "masks", index)
        if not path.exists():
            return np.zeros(self.score_map(index).shape, dtype=np.bool_)
        with Image.open(path) as image:
            return np.array(image, dtype=np.bool_)


def read_records(folder: str | Path) -> Records:
    """Read the table; each picture is read when it is asked for.

    Raises:
        FileNotFoundError: The folder holds no records.
        ValueError: The table is broken.
    """
    folder = Path(folder)
    return Records(folder, read_table(folder / TABLE))


def empty_records(folder: Path) -> None:
    """Make the folder and remove the records in it; other files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).unlink(missing_ok=True)
    for kind in KINDS:
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / kind).mkdir()
