"""Write the images of an evaluation to files, on any number of processes."""

import shutil
import tempfile
from abc import abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Callback, LightningModule, Trainer

from padseg.callbacks.evaluation import evaluated_dataset, evaluation_stage, scores_of
from padseg.callbacks.verdicts import calibrated_thresholds
from padseg.data.images import image_shape
from padseg.data.samples import GOOD
from padseg.machine.threads import usable_cores
from padseg.records import (
    COLUMNS,
    ImageRow,
    Records,
    empty_records,
    read_table,
    shrink,
    write_pictures,
    write_table,
)


class ImagesCallback(Callback):
    """Writes the images of an evaluation to files batch by batch; a subclass shows them at the end.

    It holds two batches in memory, however many images there are. Each process writes its own images,
    and the first one shows all of them.

    Attributes:
        side: Length in pixels to which the longer side of pictures is reduced.
    """

    side = 256

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._rows: list[ImageRow] = []
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    @abstractmethod
    def should_record(self, trainer: Trainer, stage: str) -> bool:
        """Whether to record this evaluation, `val` or `test`; the same on all processes."""

    @abstractmethod
    def show(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, records: Records
    ) -> None:
        """Use the records, on the first process, before they are removed."""

    def make_folder(self, trainer: Trainer) -> Path:
        """Make the folder for the records, on the first process; a temporary one by default."""
        root = Path(trainer.default_root_dir)  # which all machines see
        root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".padseg-", dir=root))

    def remove_folder(self, folder: Path) -> None:
        """Remove the folder once the records are shown, or after an error."""
        shutil.rmtree(folder, ignore_errors=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder."""
        if trainer.sanity_checking or not self.should_record(trainer, evaluation_stage(trainer)):
            return
        folder = None
        if trainer.is_global_zero:
            folder = self.make_folder(trainer)
            empty_records(folder)
        self._folder = trainer.strategy.broadcast(folder)
        self._rows = []
        # Compressing releases the GIL, so it continues while the next batch is scored.
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
        self._finish_writing()
        dataset: Any = evaluated_dataset(trainer, evaluation_stage(trainer))
        indices, labels = batch["index"].tolist(), batch["label"].tolist()
        score_map, image_score = scores_of(outputs)
        scores = image_score.tolist()
        shapes = [image_shape(Path(path)) for path in batch["path"]]
        pictures = shrink(batch | {"score_map": score_map}, shapes, self.side)
        for at, index in enumerate(indices):
            self._rows.append(
                ImageRow(
                    index=index,
                    path=batch["path"][at],
                    defect=_defect(dataset, index, labels[at]),
                    label=int(labels[at]),
                    image_score=scores[at],
                )
            )
            job = self._pool.submit(write_pictures, self._folder, index, pictures[at])
            self._pending.append(job)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the parts of all processes and show them."""
        if self._folder is None or self._pool is None:
            return
        folder = self._folder
        self._finish_writing()
        # As objects, because pandas 3 cannot store names that are not UTF-8 as text.
        part = pd.DataFrame(self._rows, columns=COLUMNS, dtype=object)
        write_table(folder / f".part{trainer.global_rank}", part)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            paths = [folder / f".part{rank}" for rank in range(trainer.world_size)]
            table = pd.concat([read_table(path) for path in paths])
            for path in paths:
                path.unlink()
            table = table.sort_values("index", ignore_index=True)
            threshold = calibrated_thresholds(pl_module).image
            if threshold is not None:
                table["anomalous"] = (table["image_score"] > threshold).astype("Int8")
            self.show(trainer, pl_module, evaluation_stage(trainer), Records(folder, table))
            self.remove_folder(folder)
        trainer.strategy.barrier()
        self._reset()

    on_test_end = on_validation_end

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove the written files."""
        folder = self._folder
        self._reset()
        if folder is not None:
            self.remove_folder(folder)

    def _finish_writing(self) -> None:
        for job in self._pending:
            job.result()
        self._pending = []

    def _reset(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._folder, self._rows, self._pool, self._pending = None, [], None, []


def _defect(dataset: Any, index: int, label: bool) -> str:
    """The kind of defect; held-out images carry synthetic ones."""
    if hasattr(dataset, "samples"):
        return str(dataset.samples[index].defect)
    return "synthetic" if label else GOOD
