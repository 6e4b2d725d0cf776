"""Thresholds at the end of training, from held-out normal images."""

import logging
from pathlib import Path
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from padseg.callbacks.resume import stop_on_sigterm
from padseg.data import AnomalyDataModule
from padseg.metrics.calibration import Calibration, Calibrator
from padseg.modules import AnomalyModule, read_header
from padseg.modules.checkpoint import store_calibration

_log = logging.getLogger(__name__)


class ThresholdCallback(Callback):
    """Calibrates a trained module on the held-out normal images of its data.

    See `padseg.metrics.calibration` for how the thresholds are chosen. Images with synthetic defects only
    show how many of these would be found. Without held-out images there are no thresholds: images get
    scores but no verdicts, until `padseg calibrate` sets thresholds.

    Args:
        false_alarm_rate: Share of normal images that may be called anomalous, (0, 1).
        pixel_rate: Share of the pixels of normal images that may be called anomalous, (0, 1).
    """

    def __init__(self, false_alarm_rate: float = 0.01, pixel_rate: float = 0.001) -> None:
        Calibrator(false_alarm_rate, pixel_rate)  # reject a wrong rate before training
        self.false_alarm_rate = false_alarm_rate
        self.pixel_rate = pixel_rate
        self._calibrator: Calibrator | None = None

    def calibrate(
        self,
        trainer: Trainer,
        module: AnomalyModule,
        datamodule: AnomalyDataModule,
        path: Path | None = None,
    ) -> Calibration | None:
        """Set `module.calibration`, using all of the Trainer's devices.

        Args:
            trainer: Its devices and precision are used.
            module: Scores with the weights of `path` if that is given, else with its own.
            datamodule: Has the held-out images.
            path: A checkpoint. Without one, on SLURM, Lightning uses the checkpoint of a preempted job
                in the Trainer's `default_root_dir`, if there is one.

        Returns:
            The thresholds; None without held-out images.
        """
        datamodule.trainer = trainer
        datamodule.setup("validate")
        module.calibration = None
        if datamodule.calibration_dataloader() is None:
            if trainer.is_global_zero:
                _log.warning(
                    "No image was held out (--data.val_fraction 0), so there are no thresholds and no "
                    "verdicts: set them with padseg calibrate CKPT FOLDER, on normal images that were "
                    "not trained on."
                )
            return None
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        self._calibrator = Calibrator(self.false_alarm_rate, self.pixel_rate)
        # Other callbacks must not treat these images as predictions.
        trainer.callbacks = [self]  # type: ignore[attr-defined]
        try:
            trainer.predict(
                module,
                datamodule=_HeldOut(datamodule),
                return_predictions=False,
                ckpt_path=path,
            )
            module.calibration = None  # the checkpoint may contain older ones
            module.calibration = self._calibrator.compute(str(trainer.precision))
        finally:
            trainer.callbacks = callbacks  # type: ignore[attr-defined]
            trainer.datamodule = datamodule  # type: ignore[attr-defined]
            self._calibrator = None
        if trainer.is_global_zero:
            tell_support(module.calibration)
        return module.calibration

    def calibrate_checkpoints(
        self, trainer: Trainer, module: AnomalyModule, datamodule: AnomalyDataModule
    ) -> None:
        """Calibrate the checkpoints of a `fit`: the last one and, if there is one, the best.

        Afterwards, the module has the weights of the last one.
        """
        found: dict[Path, int] = {}
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                for name in (callback.best_model_path, callback.last_model_path):
                    if name and Path(name).is_file():
                        found[Path(name)] = read_header(name).global_step
        done = -1
        for path, step in sorted(found.items(), key=lambda item: item[1]):
            if step != done:
                self.calibrate(trainer, module, datamodule, path)
                done = step
            if trainer.is_global_zero:
                store_calibration(path, module.calibration)
        trainer.strategy.barrier()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count on the device of the scores: Lightning does not move the metrics of callbacks."""
        if self._calibrator is not None:
            self._calibrator.to(pl_module.device)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count one batch."""
        if self._calibrator is None:
            return
        stop_on_sigterm(trainer)
        # A synthetic defect may be empty; such an image is normal and already counted.
        new = batch["label"] | ~batch["painted"]
        scores = {name: value[new] for name, value in outputs.items()}
        self._calibrator.update(scores, batch["mask"][new], batch["label"][new])


class _HeldOut(LightningDataModule):
    """The held-out images of a data module, as images to predict."""

    def __init__(self, data: AnomalyDataModule) -> None:
        super().__init__()
        self.data = data

    def predict_dataloader(self) -> Any:
        """Each image once, on one of the devices."""
        return self.data.calibration_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """As in validation."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


def tell_support(calibration: Calibration | None) -> None:
    """Warn if there are too few images for the requested rate."""
    if calibration is not None and not calibration.supports_rate:
        _log.warning(
            "%d normal images support a false-alarm rate of %.1f %%, not %.2g %%: the image threshold "
            "is their largest score; padseg calibrate takes more images.",
            calibration.normal_images,
            100 * calibration.expected_false_alarm_rate,
            100 * calibration.false_alarm_rate,
        )
