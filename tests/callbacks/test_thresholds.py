"""Thresholds set at the end of training."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from padseg.callbacks import ResumeCheckpoint, ThresholdCallback
from padseg.cli import main
from padseg.data import AnomalyDataModule
from padseg.errors import ConfigError
from padseg.inference import Predictor
from padseg.lightning_cli.recipes import config_path
from padseg.modules import StudentDistillModule, read_checkpoint, read_header
from padseg.modules.checkpoint import store_calibration
from tiny import save_module, tiny_arguments, tiny_data, tiny_student, tiny_trainer


def fit_args(data_root, textures, folder, *more: str) -> list[str]:
    return [
        *("fit", "--config", str(config_path("destseg", "distill"))),
        *(f"--data.root={data_root}", "--data.category=widget", f"--data.textures={textures}"),
        *("--data.batch_size=4", "--data.num_workers=0", "--data.val_fraction=0.5"),
        *(*tiny_arguments(), "--model.weights=random", "--model.lr=0.05", "--trainer.max_steps=2"),
        *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
        *("--trainer.precision=32-true", "--thresholds.false_alarm_rate=0.2"),
        *(f"--trainer.default_root_dir={folder}", f"--checkpoint.dirpath={folder}", *more),
    ]


def test_fit_calibrates_on_the_held_out_images(data_root, textures, tmp_path, monkeypatch):
    drafts: list[str] = []
    with monkeypatch.context() as patch:
        replace_file = Path.replace
        patch.setattr(Path, "replace", lambda a, b: drafts.append(a.name) or replace_file(a, b))
        assert main(fit_args(data_root, textures, tmp_path)) == 0
    # Always the same name, so that killed trainings leave one file, which the next one replaces.
    written = [name for name in drafts if ".ckpt" in name]
    assert len(written) > 1
    assert set(written) == {".last.ckpt.part"}
    stored = read_checkpoint(tmp_path / "last.ckpt")["padseg"]["calibration"]
    assert stored["normal_images"] == 6
    assert stored["false_alarm_rate"] == 0.2
    assert 0 < stored["synthetic_defects"] <= 3
    assert 0 <= stored["image_recall"] <= 1
    data = tiny_data(data_root, val_fraction=0.5)
    data.setup("validate")
    held_out = data.calibration_dataloader().dataset
    paths = [held_out[index]["path"] for index in range(len(held_out))]
    found = Predictor(tmp_path / "last.ckpt", device="cpu", precision="32-true")(paths)
    scores = sorted(one.image_score for one in found)
    assert stored["image_threshold"] == pytest.approx(scores[5], abs=1e-6)  # ceil(7 * 0.8) = 6th

    # A training that goes on forgets the thresholds, until its end sets them again.
    longer = ["--trainer.max_steps=4", "--ckpt_path", str(tmp_path / "last.ckpt")]
    more = ["--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1"]
    assert main(fit_args(data_root, textures, tmp_path / "on", *longer, *more)) == 0
    by_step = {}
    for path in (tmp_path / "on").glob("*.ckpt"):
        checkpoint = read_checkpoint(path)
        by_step[checkpoint["global_step"]] = checkpoint["padseg"]["calibration"]
    assert by_step[3] is None
    assert by_step[4] is not None
    assert by_step[4] != stored


@pytest.mark.parametrize(
    "plugins", [[], pytest.param([AsyncCheckpointIO()], marks=pytest.mark.slow)]
)
def test_the_checkpoint_of_a_plain_trainer_has_thresholds(
    plugins, data_root, tmp_path, monkeypatch
):
    """Also if it is written in the background, to a slow disk."""
    write = TorchCheckpointIO.save_checkpoint

    def slowly(*args, **options):
        time.sleep(0.2 if plugins else 0)
        write(*args, **options)

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", slowly)
    trainer = tiny_trainer(tmp_path, 2, enable_checkpointing=True, plugins=plugins)
    module = tiny_student("stpm")
    trainer.fit(module, datamodule=tiny_data(data_root))
    (path,) = tmp_path.rglob("*.ckpt")
    assert read_header(path).calibration == module.calibration is not None


def test_a_checkpoint_of_another_training_is_left_alone(data_root, tmp_path):
    """Which the same ModelCheckpoint has saved, and whose score this training does not reach."""
    keeper = ModelCheckpoint(tmp_path / "saved", monitor="train_loss", save_last=True)
    earlier = save_module(tiny_student("stpm", width=32), tmp_path / "earlier.ckpt")
    before = earlier.read_bytes()
    keeper.best_model_path = keeper.kth_best_model_path = str(earlier)
    keeper.best_k_models = {str(earlier): keeper.kth_value.new_tensor(-1.0)}
    trainer = tiny_trainer(tmp_path, 1, enable_checkpointing=True, callbacks=[keeper])
    trainer.fit(tiny_student("stpm"), datamodule=tiny_data(data_root))
    assert keeper.best_model_path == str(earlier)
    assert earlier.read_bytes() == before
    assert read_header(keeper.last_model_path).calibration is not None


class WorseAndWorse(Callback):
    """So that the first checkpoint is the best; the training of one step is interrupted."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        pl_module.log("worse", float(trainer.global_step))

    def on_train_end(self, trainer, pl_module):
        if trainer.max_steps == 1:
            raise KeyboardInterrupt


def test_the_best_of_a_resumed_training_has_thresholds(data_root, tmp_path):
    """With the ModelCheckpoint, but another Trainer than before the interruption."""
    keeper = ModelCheckpoint(tmp_path, "{step}", "worse", save_last=True, every_n_train_steps=1)
    for steps in (1, 2):
        options = {"enable_checkpointing": True, "callbacks": [WorseAndWorse(), keeper]}
        trainer = tiny_trainer(tmp_path, steps, **options)
        with suppress(SystemExit):
            trainer.fit(
                tiny_student("stpm"),
                datamodule=tiny_data(data_root),
                ckpt_path=keeper.last_model_path or None,
            )
    best, last = read_header(keeper.best_model_path), read_header(keeper.last_model_path)
    assert (best.global_step, last.global_step) == (1, 2)
    assert None not in (best.calibration, last.calibration)


def test_a_run_scores_the_held_out_images_once(data_root, tmp_path, monkeypatch):
    """Not those weights as well of the latest checkpoint to resume from."""
    scored = []
    monkeypatch.setattr(ThresholdCallback, "calibrate", lambda *given: scored.append(given))
    saving = ResumeCheckpoint(str(tmp_path), every_n_train_steps=2, save_last=False, save_top_k=1)
    options = {"enable_checkpointing": True, "limit_val_batches": 0}
    trainer = tiny_trainer(tmp_path, 3, callbacks=[saving], **options)
    trainer.fit(tiny_student("stpm"), datamodule=tiny_data(data_root, val_fraction=0.5))
    assert list(tmp_path.glob("*.ckpt"))
    assert len(scored) == 1


def test_too_many_processes_are_refused_before_the_training(data_root, monkeypatch):
    monkeypatch.setattr(AnomalyDataModule, "shard", lambda self: (3, 0))
    trainer = tiny_trainer(None, 1, limit_val_batches=0)
    module = tiny_student("stpm")
    with pytest.raises(ConfigError, match="3 processes are more than the 2 images"):
        trainer.fit(module, tiny_data(data_root, val_fraction=0.2))
    assert trainer.global_step == 0


def test_an_empty_defect_makes_no_second_normal_image(data_root, textures, tmp_path):
    rare = ["--data.synthesis.probability=0.01"]
    assert main(fit_args(data_root, textures, tmp_path, *rare)) == 0
    stored = read_checkpoint(tmp_path / "last.ckpt")["padseg"]["calibration"]
    assert (stored["normal_images"], stored["synthetic_defects"]) == (6, 0)
    assert stored["precision"] == "32-true"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_sigterm_stops_a_calibration(data_root, textures):
    data = tiny_data(data_root, textures)
    module = tiny_student()
    handler, scored = signal.getsignal(signal.SIGTERM), []

    def stop(*_) -> None:
        scored.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    module.register_forward_hook(stop)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    with pytest.raises(SIGTERMException):
        ThresholdCallback().calibrate(trainer, module, data)
    assert len(scored) == 1
    assert module.calibration is None
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.slow
def test_what_a_preempted_job_has_left_is_not_calibrated(
    data_root, textures, tmp_path, monkeypatch
):
    assert main(fit_args(data_root, textures, tmp_path)) == 0
    expected = read_checkpoint(tmp_path / "last.ckpt")
    # On SLURM, Lightning loads such a file in place of the weights a module has.
    (tmp_path / "on").mkdir()
    shutil.copy(tmp_path / "last.ckpt", tmp_path / "on/hpc_ckpt_1.ckpt")
    detect = "lightning.pytorch.trainer.connectors.checkpoint_connector.SLURMEnvironment.detect"
    monkeypatch.setattr(detect, lambda: True)
    more = ["--trainer.max_steps=3", "--ckpt_path", str(tmp_path / "last.ckpt")]
    assert main(fit_args(data_root, textures, tmp_path / "on", *more)) == 0
    found = read_checkpoint(tmp_path / "on/last.ckpt")
    assert found["global_step"] == 3
    data = tiny_data(data_root, val_fraction=0.5)
    data.setup("validate")
    paths = [item["path"] for item in data.calibration_dataloader().dataset]
    scores = Predictor(tmp_path / "on/last.ckpt", device="cpu", precision="32-true")(paths)
    threshold = found["padseg"]["calibration"]["image_threshold"]
    assert threshold != pytest.approx(
        expected["padseg"]["calibration"]["image_threshold"], abs=1e-6
    )
    assert threshold == pytest.approx(sorted(one.image_score for one in scores)[5], abs=1e-6)


def test_without_held_out_images_there_is_a_message(data_root, textures, tmp_path, caplog):
    arguments = fit_args(data_root, textures, tmp_path, "--data.val_fraction=0")
    assert main(arguments) == 0
    assert "padseg calibrate CKPT FOLDER" in caplog.text
    assert read_checkpoint(tmp_path / "last.ckpt")["padseg"]["calibration"] is None


def test_calibration_leaves_the_weights_and_predictions_of_others_alone(
    data_root, textures, tmp_path
):
    class Forbidden(Callback):
        def on_predict_batch_end(self, *args, **kwargs):
            raise AssertionError("these are no predictions")

        on_predict_start = on_predict_batch_start = on_predict_batch_end

    torch.manual_seed(0)
    module = tiny_student()
    data = tiny_data(data_root, textures)
    callback = ThresholdCallback()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        callbacks=[callback, Forbidden()],
    )
    callbacks = list(trainer.callbacks)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    result = callback.calibrate(trainer, module, data)
    assert result is module.calibration
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert trainer.callbacks == callbacks
    assert data.trainer is trainer
    assert np.isfinite(result.image_threshold)


def test_a_training_in_python_ends_with_thresholds(data_root, textures, tmp_path):
    module, data = tiny_student(), tiny_data(data_root, textures)
    options = {"limit_val_batches": 0, "callbacks": [ThresholdCallback(0.2)]}
    trainer = tiny_trainer(tmp_path, 2, **options)
    trainer.fit(module, datamodule=data)
    found = module.calibration
    assert found is not None
    assert found == ThresholdCallback(0.2).calibrate(trainer, module, data)
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    assert read_header(tmp_path / "trained.ckpt").calibration == found
    # A training that goes on with nothing left to do has been cut off in its calibration.
    stored = tmp_path / "trained.ckpt"
    store_calibration(stored, None)
    again = tiny_student()
    trainer = tiny_trainer(tmp_path, 2, **options)
    trainer.fit(again, datamodule=tiny_data(data_root, textures), ckpt_path=stored)
    assert again.calibration == found


def test_a_module_brings_its_thresholds_along(data_root, textures, tmp_path):
    for callbacks, rate in (([], 0.01), ([ThresholdCallback(0.3)], 0.3)):
        module = tiny_student()
        trainer = tiny_trainer(tmp_path, 1, limit_val_batches=0, callbacks=list(callbacks))
        trainer.fit(module, datamodule=tiny_data(data_root, textures))
        assert module.calibration.false_alarm_rate == rate
        found = [one for one in trainer.callbacks if isinstance(one, ThresholdCallback)]
        assert len(found) == 1
    trainer.fit(module, datamodule=tiny_data(data_root, textures))
    assert sum(isinstance(one, ThresholdCallback) for one in trainer.callbacks) == 1


def test_several_devices_must_have_trained(data_root, textures):
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    with pytest.raises(ConfigError, match="one that has trained"):
        ThresholdCallback().calibrate(trainer, tiny_student(), tiny_data(data_root, textures))


@pytest.mark.slow
def test_two_processes_calibrate_like_one(data_root, textures, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=2"]
    command = fit_args(data_root, textures, tmp_path, *two)
    done = subprocess.run(
        [sys.executable, "-m", "padseg", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    checkpoint = read_checkpoint(tmp_path / "last.ckpt")
    theirs = checkpoint["padseg"]["calibration"]
    module = StudentDistillModule(**checkpoint["hyper_parameters"])
    module.load_state_dict(checkpoint["state_dict"])
    data = AnomalyDataModule(
        str(data_root), "widget", str(textures), image_size=64, num_workers=0, val_fraction=0.5
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    ours = ThresholdCallback(0.2).calibrate(trainer, module, data)
    assert ours.normal_images == theirs["normal_images"] == 6
    for key in ("image_threshold", "pixel_threshold", "image_recall", "pixel_recall"):
        assert getattr(ours, key) == pytest.approx(theirs[key], rel=1e-3)
