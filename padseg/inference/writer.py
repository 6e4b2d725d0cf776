"""`padseg predict`: write the predictions of the Trainer to files, on any number of devices."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from padseg.data.images import image_shape, open_rgb
from padseg.errors import ConfigError, DataError
from padseg.inference.earlier import refuse_files_of_others
from padseg.inference.inputs import common_folder, name_below
from padseg.inference.outcomes import join_logs
from padseg.inference.prediction import Prediction, at_size, make_prediction
from padseg.inference.results import Results, results_options
from padseg.inference.tables import raise_failed, summary, write_tables
from padseg.inference.verdicts import warn_of_verdicts
from padseg.machine.console import say
from padseg.machine.files import absolute, expanded
from padseg.machine.folders import locked, require_same_options
from padseg.modules import AnomalyModule


class PredictionWriter(BasePredictionWriter):
    """Writes score maps, overlays, masks and tables of predictions, as `padseg detect` does.

    Args:
        out: The folder for them; see `padseg.inference.results`.
    """

    def __init__(self, out: str | Path = "predictions") -> None:
        super().__init__("batch")
        if not str(out):
            raise ConfigError("--predictions.out is empty; give a folder.")
        self.out = expanded(out)
        self._lock = ExitStack()
        self._results: Results | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove earlier predictions: these images are predicted again."""
        assert isinstance(pl_module, AnomalyModule)
        dataset: Any = trainer.predict_dataloaders.dataset  # type: ignore[union-attr]
        paths = [absolute(sample.path) for sample in dataset.samples]
        self._base = common_folder(paths)
        if trainer.is_global_zero:
            warn_of_verdicts(pl_module.calibration, str(trainer.precision))
            self._lock.enter_context(locked(self.out))
            refuse_files_of_others(self.out)
            options = results_options(pl_module, str(trainer.precision), None, self._base)
            require_same_options(self.out, options, "pass another folder, or empty it")
            for log in self.out.glob(".log-*.jsonl"):
                log.unlink()
        trainer.strategy.barrier()
        self._results = Results(self.out, trainer.global_rank)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write a batch, at the images' own sizes."""
        assert isinstance(pl_module, AnomalyModule)
        assert self._results is not None
        if trainer.received_sigterm:  # Lightning's loop of predictions does not look
            raise SIGTERMException
        scores = prediction["image_score"].tolist()
        for path, score_map, score in zip(
            batch["path"], prediction["score_map"].cpu(), scores, strict=True
        ):
            name = name_below(absolute(path), self._base)
            try:
                height, width = image_shape(Path(path))
            except DataError as error:  # the file has changed since its data set was set up
                self._results.add(name, error)
                continue
            predict = partial(_predict, Path(path), pl_module, score_map, score)
            # What waits holds the score map, which may be larger than the image.
            self._results.submit(name, predict, max(height * width, score_map.numel()))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the files, then write the tables.

        Raises:
            DataError: Some images failed; the others are done.
        """
        assert self._results is not None
        self._results.close()
        trainer.strategy.barrier()
        totals = None
        if trainer.is_global_zero:
            join_logs(self.out, trainer.world_size)
            totals = write_tables(self.out)
        self._lock.close()
        trainer.strategy.barrier()
        if totals is not None:
            assert isinstance(pl_module, AnomalyModule)
            say(summary(totals, self.out, pl_module.calibration is not None))
            raise_failed(totals, self.out, self._base)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Release the folder.

        Raises:
            PadsegError: It cannot be written, or was moved or deleted.
        """
        if self._results is not None:
            self._results.close(wait=False)
        self._lock.__exit__(type(exception), exception, exception.__traceback__)


def _predict(
    path: Path, module: AnomalyModule, score_map: Tensor, score: float
) -> Prediction | DataError:
    """The prediction at the image's own size."""
    try:
        image = open_rgb(path, module.bits)
    except DataError as error:
        return error
    resized = at_size(score_map, (image.height, image.width))
    return make_prediction(image, resized, score, module.calibration)
