"""Pictures of the images that a system judges worst."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from padseg.callbacks.evaluation import evaluation_stage
from padseg.callbacks.images import ImagesCallback
from padseg.callbacks.verdicts import Thresholds, banner, display_thresholds
from padseg.drawing import panels
from padseg.errors import ConfigError
from padseg.machine.files import expanded, require_writable, short_name, written_whole
from padseg.machine.marks import is_marked, save_marked
from padseg.records import Records, worst_first


class PicturesCallback(ImagesCallback):
    """Draws the normal images with the highest scores and the defect images with the lowest.

    These are the worst false alarms and the worst misses, if there are any. Each picture shows image,
    true defect, score map and overlay, under the verdict and the score. The overlay colours what exceeds
    the pixel threshold, and outlines it if the image is judged anomalous. All pictures of an evaluation
    share one colour scale. They are saved as
    `folder/{val,test}/{normal,defect}-<place>-<kind>-<name>.png`, replacing those of the evaluation
    before, and logged to TensorBoard if that is the logger. Without a calibration, the thresholds are
    those with the highest F1 in the evaluation.

    Args:
        folder: Folder for the pictures; null for TensorBoard only.
        count: Largest number of normal images, and of defect images, to draw.

    Raises:
        ConfigError: `count` is not positive.
    """

    side = 512

    def __init__(self, folder: str | Path | None = None, count: int = 8) -> None:
        super().__init__()
        if count < 1:
            raise ConfigError(f"--pictures.count is {count}; it must be at least 1.")
        self.target = None if folder is None else expanded(folder)
        self.count = count

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder of an evaluation, and fail before it rather than after it.

        Raises:
            OSError: It cannot be made or written.
        """
        if stage in ("validate", "test") and self.target is not None and trainer.is_global_zero:
            self.target.mkdir(parents=True, exist_ok=True)
            require_writable(self.target / evaluation_stage(trainer) / "normal.png")

    def should_record(self, trainer: Trainer, stage: str) -> bool:
        """Whether there is a folder or a logger for the pictures."""
        return self.target is not None or bool(_tensorboards(trainer))

    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Draw the pictures; they replace those of the evaluation before."""
        thresholds = display_thresholds(trainer, pl_module, stage)
        drawn = dict(draw_worst(records, self.count, thresholds))
        for logger in _tensorboards(trainer):
            for name, picture in drawn.items():
                # One tag for each place, so that the slider shows how the picture changes over the steps.
                tag = f"{stage}/{'-'.join(name.split('-')[:2])}"
                logger.experiment.add_image(
                    tag, np.asarray(picture), trainer.global_step, dataformats="HWC"
                )
        if self.target is None:
            return
        folder = self.target / stage
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*-[0-9][0-9]*-*.png"):
            # Nothing else is removed: the folder may contain files of the user.
            ours = old.name.startswith(("normal-", "defect-")) and is_marked(old)
            if ours and old.stem not in drawn:
                old.unlink()
        for name, picture in drawn.items():
            with written_whole(folder / f"{name}.png") as draft:
                save_marked(picture, draft)


def draw_worst(
    records: Records, count: int, thresholds: Thresholds
) -> Iterator[tuple[str, Image.Image]]:
    """Draw the worst normal and the worst defect images, the worst first.

    Yields:
        Name, such as `defect-01-scratch-003`, and picture.
    """
    normal, defective = worst_first(records.table, count)
    chosen = [*normal, *defective]
    top = max((float(records.score_map(index).max()) for index in chosen), default=1.0)
    scale = thresholds.heat_scale(top)
    rows = records.table.set_index("index")
    for kind, indices in (("normal", normal), ("defect", defective)):
        for place, index in enumerate(indices, start=1):
            row: Any = rows.loc[index]
            picture = panels(
                records.image(index),
                records.mask(index),
                records.score_map(index),
                scale,
                banner(row, thresholds),
                outlined=thresholds.is_anomalous(row["image_score"]),
                side=max(256, *records.image(index).shape[:2]),
            )
            defect = re.sub(r"[\\/]", "_", row["defect"])  # a list of samples may contain any name
            name = f"{kind}-{place:02d}-{defect}-{Path(row['path']).stem}"
            yield short_name(name), picture


def _tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
