"""Thresholds at the end of training, from held-out normal images."""

import copy
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from padseg.data import AnomalyDataModule
from padseg.errors import ConfigError
from padseg.metrics.calibration import Calibration, Calibrator, warn_of_few_images
from padseg.modules.base import AnomalyModule
from padseg.modules.checkpoint import read_checkpoint, read_header, store_calibration
from padseg.modules.saving import wait_for_checkpoints
from padseg.modules.signals import handled_signals, is_to_stop, stop_together
from padseg.modules.sync_batch_norm import take_statistics_of_first
from padseg.modules.trainer_parts import callbacks_of, data_of

_log = logging.getLogger(__name__)


class ThresholdCallback(Callback):
    """Calibrates a trained module, and its last and best checkpoint, on the held-out normal images.

    See `padseg.metrics.calibration` for how the thresholds are chosen. Images with synthetic defects only
    show how many of these would be found. Without held-out images there are no thresholds: images get
    scores but no verdicts, until `padseg calibrate` sets thresholds.

    A module brings this callback along to every Trainer, unless that has one with other rates.

    Args:
        false_alarm_rate: Share of normal images that may be called anomalous, (0, 1).
        pixel_rate: Share of the pixels of normal images that may be called anomalous, (0, 1).
    """

    def __init__(self, false_alarm_rate: float = 0.01, pixel_rate: float = 0.001) -> None:
        Calibrator(false_alarm_rate, pixel_rate)  # reject a wrong rate before training
        self.false_alarm_rate = false_alarm_rate
        self.pixel_rate = pixel_rate
        self._others: set[tuple[Path, int]] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the files of an earlier training, if this one has its ModelCheckpoint, where the best may stay the best.

        Raises:
            ConfigError: There are more processes than images to calibrate on, which could not be done at the end.
        """
        goes_on = trainer.global_step > 0 or trainer.ckpt_path is not None
        self._others = set() if goes_on else {_state(path) for _, path in _saved(trainer)}
        data = _held_out_data(trainer, pl_module)
        if data is not None:
            data.calibration_dataloader()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate the last weights, and those of the best checkpoint, if there is one."""
        data = _held_out_data(trainer, pl_module)
        if data is None or not isinstance(pl_module, AnomalyModule):
            return
        wait_for_checkpoints(trainer)
        checkpoints = _by_step(trainer, self._others)
        of_last_step = checkpoints.pop(trainer.global_step, set())
        last = copy.deepcopy(pl_module.state_dict()) if checkpoints else None
        for paths in checkpoints.values():
            checkpoint = read_checkpoint(next(iter(paths)))
            pl_module.load_state_dict(checkpoint["state_dict"])
            self._calibrate_and_store(trainer, pl_module, data, paths)
        if last is not None:
            pl_module.load_state_dict(last)
        self._calibrate_and_store(trainer, pl_module, data, of_last_step)

    def _calibrate_and_store(
        self, trainer: Trainer, module: AnomalyModule, data: AnomalyDataModule, paths: set[Path]
    ) -> None:
        calibration = self.calibrate(trainer, module, data)
        if trainer.is_global_zero:
            for path in paths:
                store_calibration(path, calibration)
        trainer.strategy.barrier()

    def calibrate(
        self, trainer: Trainer, module: AnomalyModule, datamodule: AnomalyDataModule
    ) -> Calibration | None:
        """Set `module.calibration`, using all of the Trainer's devices.

        Args:
            trainer: Its devices and precision are used.
            module: Scores with its current weights.
            datamodule: Has the held-out images.

        Returns:
            The thresholds; None without held-out images.

        Raises:
            ConfigError: The Trainer has several devices and has not trained on them yet.
        """
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        if trainer.world_size > 1 and not together:
            raise ConfigError("thresholds need a Trainer with one device, or one that has trained.")
        trainer.strategy.connect(module)  # saved by a job that SLURM requeues
        datamodule.trainer = trainer
        datamodule.setup("validate")
        loader = datamodule.calibration_dataloader()
        module.calibration = None
        if loader is not None:
            module.calibration = self._score(trainer, module, datamodule, loader)
            if trainer.is_global_zero and module.calibration is not None:
                warn_of_few_images(module.calibration)
        elif trainer.is_global_zero:
            _log.warning(
                "No image was held out (--data.val_fraction 0), so there are no thresholds and no "
                "verdicts: set them with padseg calibrate CKPT FOLDER, on normal images that were "
                "not trained on."
            )
        return module.calibration

    def _score(
        self,
        trainer: Trainer,
        module: AnomalyModule,
        data: AnomalyDataModule,
        loader: DataLoader[dict[str, Any]],
    ) -> Calibration | None:
        """Score without callbacks and hooks, which would treat these images as predictions."""
        before, device = module.device, trainer.strategy.root_device
        calibrator = Calibrator(self.false_alarm_rate, self.pixel_rate)
        calibrator.to(device)
        module.to(device).eval()
        if trainer.world_size > 1:
            take_statistics_of_first(module)
        with (
            handled_signals(trainer),
            torch.inference_mode(),
            trainer.precision_plugin.forward_context(),
        ):
            for loaded in loader:
                on_device = data.transfer_batch_to_device(loaded, device, 0)
                batch = data.on_after_batch_transfer(on_device, 0)
                scores = module.score_batch(batch)
                if is_to_stop(trainer):
                    break
                # A synthetic defect may be empty; such an image is normal and already counted.
                new = batch["label"] | ~batch["painted"]
                calibrator.update(
                    {name: value[new] for name, value in scores.items()},
                    batch["mask"][new],
                    batch["label"][new],
                )
            stop_together(trainer)  # the shares of the processes may differ by a batch
        module.to(before)
        return calibrator.compute(str(trainer.precision))


def _held_out_data(trainer: Trainer, module: LightningModule) -> AnomalyDataModule | None:
    """The data of a training that ends with thresholds; None for others."""
    left_out = not isinstance(module, AnomalyModule) or getattr(trainer, "fast_dev_run", False)
    return None if left_out else data_of(trainer)


def _by_step(trainer: Trainer, others: set[tuple[Path, int]]) -> dict[int, set[Path]]:
    """The checkpoints of the last weights and the best one of a training, by the step at which they were saved."""
    found: dict[int, set[Path]] = defaultdict(set)
    for callback, path in _saved(trainer):
        if _state(path) in others:
            continue
        step = read_header(path).global_step
        # Without a monitor, Lightning calls the latest one the best, which may be of an earlier step.
        is_last = path == Path(callback.last_model_path)
        if callback.monitor or is_last or step == trainer.global_step:
            found[step].add(path)
    return found


def _saved(trainer: Trainer) -> Iterator[tuple[ModelCheckpoint, Path]]:
    for callback in callbacks_of(trainer, ModelCheckpoint):
        for name in (callback.best_model_path, callback.last_model_path):
            if name and Path(name).is_file():
                yield callback, Path(name)


def _state(path: Path) -> tuple[Path, int]:
    return path, path.stat().st_mtime_ns
