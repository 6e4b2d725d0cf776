"""What an evaluation leaves on disk: a table with a row an image, and small pictures of some of them.

    images.csv                 index, path, defect, label, image_score, anomalous; every image
    maps/<index>.png           score map, 16-bit grey, round(score * 65535)
    thumbs/<index>.jpg         the image, at its own aspect ratio, as maps and masks are
    masks/<index>.png          mask of a defect image, 1 bit, at the map's size

The index has five digits. The table is written last: without it, a folder holds no records.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from padseg.machine.files import write_text

TABLE = "images.csv"
COLUMNS = ["index", "path", "defect", "label", "image_score", "anomalous"]
_FOLDERS = ("maps", "thumbs", "masks")
_TOP = 65535


@dataclass(frozen=True)
class Records:
    """The records in a folder.

    Attributes:
        folder: Where they lie.
        table: A row an image, columns as above, ordered by index. `label` is 0 or 1, `anomalous` the
            verdict, 0 or 1, or missing without a threshold.
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
            return np.asarray(image, dtype=np.float32) / np.float32(_TOP)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(H, W) bool; of a good image nothing."""
        path = picture_path(self.folder, "masks", index)
        if not path.exists():
            return np.zeros(self.score_map(index).shape, dtype=np.bool_)
        with Image.open(path) as image:
            return np.array(image, dtype=np.bool_)


def read_records(folder: Path) -> Records:
    """Read the table; the pictures are read when asked for.

    Raises:
        FileNotFoundError: The folder holds no records.
        ValueError: The table is broken.
    """
    return Records(folder, read_table(folder / TABLE))


def read_table(path: Path) -> pd.DataFrame:
    """Read what `write_table` wrote, ordered by index.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is broken; the message says how.
    """
    # Everything is text first: a defect may be called "NA" or "007".
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
    """Write a table with the columns above, whole or not at all."""
    write_text(path, table[COLUMNS].to_csv(index=False))


def clear(folder: Path) -> None:
    """Make the folder, without records; other files in it stay."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()


def shrink(
    batch: dict[str, Tensor], shapes: Sequence[tuple[int, int]], side: int
) -> list[tuple[NDArray[np.generic], ...]]:
    """Bring a batch to the host, with each image's own aspect ratio.

    A mask keeps every defect: none is too small to be seen.

    Args:
        batch: `image` (B, 3, H, W) in [0, 1], `score_map` and `mask` (B, 1, H, W); any device.
        shapes: (height, width) of each image before it was resized to (H, W).
        side: Most pixels on the longer side of a picture, which is never longer than H and W are.

    Returns:
        For each image: (h, w, 3) uint8, score map (h, w) uint16 in units of 1/65535, mask (h, w) bool.
    """
    # On the host: the pooling below is wrong on Apple's GPUs (pytorch/pytorch#190064).
    images, score_maps, masks = (
        batch[name].cpu().float() for name in ("image", "score_map", "mask")
    )
    side = min(side, max(images.shape[-2:]))
    pictures: list[tuple[NDArray[np.generic], ...]] = []
    for at, shape in enumerate(shapes):
        image, score_map, mask = (values[at : at + 1] for values in (images, score_maps, masks))
        size = [max(1, round(length * side / max(shape))) for length in shape]
        if size != list(image.shape[-2:]):
            image, score_map = (
                functional.interpolate(values, size, mode="bilinear", antialias=True)
                for values in (image, score_map)
            )
            mask = functional.adaptive_max_pool2d(mask, size)
        pictures.append(
            (
                (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy(),
                (score_map[0, 0].clamp(0, 1) * _TOP).round().int().numpy().astype(np.uint16),
                (mask[0, 0] > 0).numpy(),
            )
        )
    return pictures


def write_pictures(
    folder: Path,
    index: int,
    image: NDArray[np.generic],
    score_map: NDArray[np.generic],
    mask: NDArray[np.generic],
) -> None:
    """Write what `shrink` gave for one image."""
    Image.fromarray(image).save(picture_path(folder, "thumbs", index), quality=90)
    # A quarter of the time of the usual level, for a sixth more bytes.
    Image.fromarray(score_map).save(picture_path(folder, "maps", index), compress_level=1)
    if mask.any():
        Image.fromarray(mask).save(picture_path(folder, "masks", index))


def remove_pictures(folder: Path, index: int) -> None:
    """Keep an image's row only."""
    for name in _FOLDERS:
        picture_path(folder, name, index).unlink(missing_ok=True)


def worst_first(table: pd.DataFrame, count: int) -> tuple[list[int], list[int]]:
    """The images that a threshold would judge wrongly first.

    Returns:
        Indices of at most `count` normal images, the highest scores first (the worst false alarms), and
        of as many defect images, the lowest first (the worst misses).
    """
    ordered = table.sort_values("image_score", kind="stable")
    normal = ordered.loc[ordered["label"] == 0, "index"].tolist()
    defective = ordered.loc[ordered["label"] == 1, "index"].tolist()
    return normal[::-1][:count], defective[:count]


def choose(table: pd.DataFrame, limit: int) -> list[int]:
    """Choose images to keep: all, or the worst, and the others evenly over the ranking by score.

    Returns:
        At most `limit` indices, ascending.
    """
    if len(table) <= limit:
        return sorted(table["index"].tolist())
    normal, defective = worst_first(table, limit // 20)
    worst = [*normal, *defective]
    ordered = table.sort_values("image_score", kind="stable")["index"]
    others: Sequence[int] = ordered[~ordered.isin(worst)].tolist()
    places = np.linspace(0, len(others) - 1, limit - len(worst)).round().astype(int)
    return sorted([*worst, *(others[place] for place in places)])


def picture_path(folder: Path, kind: str, index: int) -> Path:
    """Of an image's picture in the folder of records; `kind` is maps, thumbs or masks."""
    return folder / kind / f"{index:05d}.{'jpg' if kind == 'thumbs' else 'png'}"
