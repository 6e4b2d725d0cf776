"""The table of an evaluation, `images.csv`, with one row per image."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from padseg.machine.files import write_text

TABLE = "images.csv"


@dataclass(frozen=True)
class ImageRow:
    """A row of the table.

    Attributes:
        index: Number of the image in its data set, from 0.
        path: Path of the image file; in `images.csv` relative to the folder of the data set.
        defect: Kind of defect, `good` for a normal image.
        label: 1 for a defect image, 0 for a normal one.
        image_score: The score; finite.
        anomalous: The verdict, 1 or 0; None without a threshold.
    """

    index: int
    path: str
    defect: str
    label: int
    image_score: float
    anomalous: int | None = None


COLUMNS = [field.name for field in fields(ImageRow)]


def read_table(path: Path) -> pd.DataFrame:
    """Read what `write_table` wrote, ordered by index.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is broken; the message says how.
    """
    # Everything is read as text first, because a defect may be called "NA" or "007".
    table = pd.read_csv(
        path, dtype=object, keep_default_na=False, encoding_errors="surrogateescape"
    )
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise ValueError(f"no column {', '.join(lacking)}")
    table = table[COLUMNS].astype({"index": int, "label": int, "image_score": float})
    table["anomalous"] = pd.to_numeric(table["anomalous"]).astype("Int8")
    if not table["label"].isin([0, 1]).all():
        raise ValueError("a label other than 0 and 1")
    if not np.isfinite(table["image_score"]).all():
        raise ValueError("a score that is not finite")
    if table["index"].duplicated().any() or table["path"].duplicated().any():
        raise ValueError("an image twice")
    return table.sort_values("index", ignore_index=True)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table with the columns above, completely or not at all."""
    write_text(path, table[COLUMNS].to_csv(index=False))


def worst_first(table: pd.DataFrame, count: int) -> tuple[list[int], list[int]]:
    """The images that a threshold would judge wrongly first.

    Returns:
        Indices of at most `count` normal images with the highest scores (the worst false alarms), highest
        first, and of at most `count` defect images with the lowest (the worst misses), lowest first.
    """
    ordered = table.sort_values("image_score", kind="stable")
    normal = ordered.loc[ordered["label"] == 0, "index"].tolist()
    defective = ordered.loc[ordered["label"] == 1, "index"].tolist()
    return normal[::-1][:count], defective[:count]


def choose_images(table: pd.DataFrame, limit: int) -> list[int]:
    """Choose images: all of them, or the worst ones and others spread evenly over the ranking by score.

    Returns:
        At most `limit` indices, ascending.
    """
    if len(table) <= limit:
        return sorted(table["index"].tolist())
    normal, defective = worst_first(table, limit // 20)
    worst = [*normal, *defective]
    ordered = table.sort_values("image_score", kind="stable")["index"]
    others: Sequence[int] = ordered[~ordered.isin(worst)].tolist()
    places = spread(len(others), limit - len(worst))
    return sorted([*worst, *(others[place] for place in places)])


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to `count` - 1, spread evenly, with the first and the last."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, most)).round()]
