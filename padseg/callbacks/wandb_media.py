"""Pictures, tables and curves in the form that Weights & Biases expects."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger
from numpy.typing import NDArray
from torch import Tensor

from padseg.callbacks.curves import thin_out
from padseg.callbacks.verdicts import Thresholds, banner, caption, verdict
from padseg.drawing import judged
from padseg.metrics.curves import CURVES, Curve
from padseg.modules.trainer_parts import data_of
from padseg.records import Records

_COLUMNS = [
    *("index", "defect", "file", "label", "score", "image_score", "verdict", "picture", "overlay"),
]


def log_pairs(logger: WandbLogger, trainer: Trainer, count: int) -> None:
    """Log the first samples of the training stream as the model sees them."""
    data = data_of(trainer)
    if not count or data is None:
        return
    pairs = data.pairs(data.start.sample, count)
    for name in ("clean", "texture"):
        if name in pairs:
            logger.log_image(f"train/{name}", _as_pixels(pairs[name]), step=0)
    if "corrupted" in pairs:
        masks = [_masks(mask) for mask in (pairs["mask"][:, 0] > 0).numpy()]
        logger.log_image("train/corrupted", _as_pixels(pairs["corrupted"]), step=0, masks=masks)


def log_worst(
    logger: WandbLogger,
    key: str,
    records: Records,
    indices: Sequence[int],
    thresholds: Thresholds,
    step: int,
) -> None:
    """Log images of an evaluation with their masks and verdicts."""
    rows: Any = records.table.set_index("index")
    logger.log_image(
        key,
        [records.image(index) for index in indices],
        step=step,
        caption=[caption(rows.loc[index], thresholds) for index in indices],
        masks=[_record_masks(records, index, thresholds) for index in indices],
    )


def log_table(
    logger: WandbLogger,
    key: str,
    records: Records,
    indices: Sequence[int],
    thresholds: Thresholds,
    step: int,
) -> None:
    """Log a table with one row per image."""
    rows = list(_rows(records, indices, thresholds))
    logger.log_table(key, columns=_COLUMNS, data=rows, step=step)


def log_curves(logger: WandbLogger, key: str, curves: Mapping[str, Curve]) -> None:
    """Log a chart for each curve."""
    for name, curve in curves.items():
        axes = CURVES[name]
        points = thin_out(curve)
        rows: list[Iterable[Any]] = list(zip(points[axes.x], points[axes.y], strict=True))
        table = wandb.Table(columns=[axes.x, axes.y], data=rows)
        chart = wandb.plot.line(table, axes.x, axes.y, title=name.replace("_", " "))
        logger.experiment.log({f"{key}/{name}": chart})


def _rows(records: Records, indices: Sequence[int], thresholds: Thresholds) -> Iterator[list[Any]]:
    rows = records.table.set_index("index")
    top = max((float(records.score_map(index).max()) for index in indices), default=1.0)
    scale, normalise = thresholds.heat_scale(top), thresholds.image_scale
    for index in indices:
        row: Any = rows.loc[index]
        image, score_map = records.image(index), records.score_map(index)
        yield [
            index,
            row["defect"],
            Path(row["path"]).name,
            int(row["label"]),
            None if normalise is None else normalise(float(row["image_score"])),
            float(row["image_score"]),
            verdict(row, thresholds.image),
            wandb.Image(image, masks=_record_masks(records, index, thresholds)),
            wandb.Image(
                judged(
                    *(image, score_map, scale, banner(row, thresholds)),
                    outlined=thresholds.is_anomalous(row["image_score"]),
                )
            ),
        ]


def _record_masks(records: Records, index: int, thresholds: Thresholds) -> dict[str, Any]:
    found = None
    if thresholds.pixel is not None:
        found = records.score_map(index) > thresholds.pixel
    return _masks(records.mask(index), found)


def _masks(
    defect: NDArray[np.bool_], found: NDArray[np.bool_] | None = None
) -> dict[str, dict[str, Any]]:
    """Masks in the form that `wandb.Image` expects."""
    masks = {"defect": {"mask_data": defect.astype(np.uint8), "class_labels": {1: "defect"}}}
    if found is not None:
        # A class of its own, so that W&B gives it another colour.
        masks["found"] = {"mask_data": found * np.uint8(2), "class_labels": {2: "above threshold"}}
    return masks


def _as_pixels(images: Tensor) -> list[NDArray[np.uint8]]:
    pixels: NDArray[np.uint8] = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return list(pixels)
