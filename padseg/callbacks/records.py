"""Writing the images of an evaluation to files, on any number of processes."""

import math
import os
import shutil
import tempfile
from abc import abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightning import Callback, LightningModule, Trainer

from padseg.callbacks.evaluation import EvaluationCallback
from padseg.data.images import image_shape
from padseg.data.samples import GOOD
from padseg.machine.files import write_json
from padseg.machine.threads import usable_cores
from padseg.metrics.functional import Curve
from padseg.records.records import (
    COLUMNS,
    TABLE,
    Records,
    choose,
    clear,
    read_table,
    remove_pictures,
    shrink,
    write_pictures,
    write_table,
)

_CURVE_POINTS = 256


class ImagesCallback(Callback):
    """Writes the images of an evaluation to files as they come, and shows them at its end.

    Memory holds two batches, whatever the number of images. Each process writes its own images; the
    first one goes on with all of them.

    Attributes:
        side: Pixels of the longer side that pictures are reduced to.
    """

    side = 256

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._rows: list[dict[str, Any]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    @abstractmethod
    def wanted(self, trainer: Trainer, stage: str) -> bool:
        """Whether this evaluation, `val` or `test`, shall be recorded; the same on all processes."""

    @abstractmethod
    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Do something with the records, on the first process, before they are removed."""

    def folder(self, trainer: Trainer) -> Path:
        """Where the records go, on the first process; removed after `show` unless overridden."""
        root = Path(trainer.default_root_dir)  # which all machines see
        root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".padseg-", dir=root))

    def tidy(self, folder: Path) -> None:
        """Remove what is needed no longer."""
        shutil.rmtree(folder, ignore_errors=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make room."""
        if trainer.sanity_checking or not self.wanted(trainer, _stage(trainer)):
            return
        folder = None
        if trainer.is_global_zero:
            folder = self.folder(trainer)
            clear(folder)
        self._folder = trainer.strategy.broadcast(folder)
        self._rows = []
        # Compressing lets other threads run: it goes on while the next batch is scored.
        self._pool = ThreadPoolExecutor(min(8, usable_cores()))

    on_test_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one batch."""
        if self._folder is None or self._pool is None:
            return
        self._wait()
        dataset: Any = _dataset(trainer, _stage(trainer))
        indices, labels = batch["index"].tolist(), batch["label"].tolist()
        scores = outputs["image_score"].float().tolist()
        shapes = [image_shape(Path(path)) for path in batch["path"]]
        pictures = shrink(batch | {"score_map": outputs["score_map"]}, shapes, self.side)
        for at, index in enumerate(indices):
            self._rows.append(
                {
                    "index": index,
                    "path": batch["path"][at],
                    "defect": _defect(dataset, index, labels[at]),
                    "label": int(labels[at]),
                    "image_score": scores[at],
                    "anomalous": None,
                }
            )
            job = self._pool.submit(write_pictures, self._folder, index, *pictures[at])
            self._pending.append(job)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the parts of all processes together and show them."""
        if self._folder is None or self._pool is None:
            return
        folder = self._folder
        self._wait()
        # As objects: text of pandas 3 cannot hold names that are no UTF-8.
        part = pd.DataFrame(self._rows, columns=COLUMNS, dtype=object)
        write_table(folder / f".part{trainer.global_rank}", part)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            paths = [folder / f".part{rank}" for rank in range(trainer.world_size)]
            table = pd.concat([read_table(path) for path in paths])
            for path in paths:
                path.unlink()
            table = table.sort_values("index", ignore_index=True)
            threshold = calibrated(pl_module).image
            if threshold is not None:
                table["anomalous"] = (table["image_score"] > threshold).astype("Int8")
            self.show(trainer, pl_module, _stage(trainer), Records(folder, table))
            self.tidy(folder)
        trainer.strategy.barrier()
        self._stop()

    on_test_end = on_validation_end

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing behind."""
        folder = self._folder
        self._stop()
        if folder is not None:
            self.tidy(folder)

    def _wait(self) -> None:
        for job in self._pending:
            job.result()
        self._pending = []

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._folder, self._rows, self._pool, self._pending = None, [], None, []


class RecordsCallback(ImagesCallback):
    """Leaves the records of a test in a folder, with the curves beside them.

    `images.csv` has a row for every image; at most `limit` of them keep their pictures. `curves.json`
    has the curves of `PixelMetrics` and `ImageMetrics`, from name to axis to values; an infinite
    threshold is null.

    Args:
        folder: Where they go; its older records are removed.
        root: Folder of the data set, to which the paths are relative.
        limit: Most images with pictures.
    """

    def __init__(self, folder: Path, root: Path, limit: int = 500) -> None:
        super().__init__()
        self.target = folder
        self.root = root
        self.limit = limit

    def wanted(self, trainer: Trainer, stage: str) -> bool:
        """Tests only."""
        return stage == "test"

    def folder(self, trainer: Trainer) -> Path:
        """As given."""
        return self.target

    def tidy(self, folder: Path) -> None:
        """They stay."""

    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Thin the pictures out; the table is last, and says that the records are whole."""
        table = records.table
        kept = set(choose(table, self.limit))
        for index in table["index"]:
            if index not in kept:
                remove_pictures(records.folder, index)
        curves = {name: thinned(curve) for name, curve in all_curves(trainer, stage).items()}
        write_json(records.folder / "curves.json", curves)
        relative = [Path(os.path.relpath(path, self.root)).as_posix() for path in table["path"]]
        write_table(records.folder / TABLE, table.assign(path=relative))


class Thresholds(NamedTuple):
    """Scores above which an image or a pixel is anomalous; None where nobody knows.

    Attributes:
        image: Of image scores.
        pixel: Of score maps.
    """

    image: float | None = None
    pixel: float | None = None


def calibrated(pl_module: LightningModule) -> Thresholds:
    """The thresholds that the module was calibrated with; none if those are of tiles."""
    calibration = getattr(pl_module, "calibration", None)
    if calibration is None or calibration.get("tile") is not None:
        return Thresholds()
    return Thresholds(calibration["image_threshold"], calibration["pixel_threshold"])


def shown_thresholds(trainer: Trainer, pl_module: LightningModule, stage: str) -> Thresholds:
    """The calibrated thresholds, or, to look at only, those of the highest F1 in this evaluation."""
    thresholds = calibrated(pl_module)
    if thresholds.image is not None:
        return thresholds
    curves = all_curves(trainer, stage)
    return Thresholds(
        _best_f1(curves.get("image_precision_recall")),
        _best_f1(curves.get("pixel_precision_recall")),
    )


def _best_f1(curve: Curve | None) -> float | None:
    if curve is None:
        return None
    precision, recall = curve["precision"], curve["recall"]
    best = int((2 * precision * recall / (precision + recall).clamp(min=1e-12)).argmax())
    # Of the curve, scores from a threshold on are found; here, those above it.
    score = np.float32(curve["threshold"][best].item())
    return float(np.nextafter(score, np.float32(-math.inf)))


def all_curves(trainer: Trainer, stage: str) -> dict[str, Curve]:
    """The curves of the evaluation that has just ended, the metrics' level in their names.

    Returns:
        `pixel_precision_recall`, `pixel_roc`, `pro`, `iap`, `image_precision_recall`, `image_roc`;
        those that are not defined are left out.
    """
    if getattr(_dataset(trainer, stage), "defects", True) is None:
        return {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EvaluationCallback):
            pixel, image = callback.pixel.curves(), callback.image.curves()
            named = {
                name if name in ("pro", "iap") else f"pixel_{name}": pixel[name] for name in pixel
            }
            return named | {f"image_{name}": image[name] for name in image}
    return {}


def thinned(curve: Curve) -> dict[str, list[float | None]]:
    """At most 256 points of a curve, in plain numbers; what is infinite is None."""
    count = len(next(iter(curve.values())))
    step = max(1, count - 1) / (_CURVE_POINTS - 1)
    at = range(count) if count <= _CURVE_POINTS else [round(i * step) for i in range(_CURVE_POINTS)]
    return {
        name: [value if math.isfinite(value) else None for value in values[list(at)].tolist()]
        for name, values in curve.items()
    }


def _stage(trainer: Trainer) -> str:
    return "test" if trainer.testing else "val"


def _dataset(trainer: Trainer, stage: str) -> Any:
    loader: Any = trainer.test_dataloaders if stage == "test" else trainer.val_dataloaders
    return loader.dataset


def _defect(dataset: Any, index: int, label: bool) -> str:
    """The kind of defect; held-out images carry synthetic ones."""
    if hasattr(dataset, "samples"):
        return str(dataset.samples[index].defect)
    return "synthetic" if label else GOOD
