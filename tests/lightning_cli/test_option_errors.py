"""Errors of Lightning, jsonargparse and torch that an option causes, and faults of padseg."""

import sys
import types

import pytest
import torch
from lightning import Callback

from padseg.cli import main

from .conftest import QUIET, fit_args

EARLY = ("--trainer.callbacks=EarlyStopping", "--trainer.val_check_interval=1")


def fit(data_root, textures, tmp_path, *options) -> int:
    own = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=2", *options]
    return main(fit_args(data_root, textures, *own))


@pytest.mark.filterwarnings("ignore:\\s+Unable to serialize instance")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trainer.devices=[0]"], "--trainer: TypeError: `devices` selected with"),
        (["--trainer.devices=cuda:0"], "--trainer: TypeError: `devices` selected with"),
        (["--trainer.devices=0"], "--trainer: `Trainer(devices='0')` value is not a valid input"),
        (["--trainer.accelerator=cuda:0"], "--trainer: You selected an invalid accelerator"),
        (["--trainer.strategy=nothing"], "--trainer: You selected an invalid strategy name"),
        (["--checkpoint.save_top_k=3"], "--checkpoint or --trainer.callbacks: "),
        ([*EARLY, "--trainer.callbacks.monitor=x"], "EarlyStopping: Early stopping conditioned on"),
        (["--trainer.check_val_every_n_epoch=1"], "--trainer: `val_check_interval` (500) must be"),
        (["--trainer.logger=CometLogger"], "comet"),
        (
            [
                "--trainer.callbacks=StochasticWeightAveraging",
                "--trainer.callbacks.swa_lrs=0.1",
            ],
            "StochasticWeightAveraging averages the weights that each epoch begins with",
        ),
        (
            ["--trainer.callbacks=LearningRateMonitor", "--trainer.logger=false"],
            "--trainer.callbacks LearningRateMonitor: Cannot use",
        ),
        (
            ["--trainer.callbacks=Timer", "--trainer.callbacks.duration=x"],
            "--trainer.callbacks Timer: `Timer(duration='x')` is not a valid duration",
        ),
        (["--trainer.max_time=x"], "--trainer.callbacks Timer: `Timer(duration='x')` is not"),
        (["--trainer.precision=64-true"], "--trainer.precision is '64-true'; give one of"),
        (["--trainer.max_steps=-5"], "--trainer: `max_steps` must be a non-negative integer"),
        (["--trainer.accumulate_grad_batches=0"], "accumulate_grad_batches is 0; it must be"),
        (["--trainer.gradient_clip_val=-1"], "--trainer.gradient_clip_val is -1; it must be"),
        (["--trainer.val_check_interval=0"], "--trainer.val_check_interval is 0; it must be"),
        (["--trainer.strategy=deepspeed"], "--trainer: To use the `DeepSpeedStrategy`"),
        (["--trainer.profiler=x"], "--trainer: When passing string value for the `profiler`"),
    ],
)
def test_what_an_option_causes_is_one_sentence(
    options, said, data_root, textures, tmp_path, capsys
):
    assert fit(data_root, textures, tmp_path, *options) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("padseg: error: ")
    assert said in told
    assert "Union subtypes" not in told


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *(("data.AnomalyDataModule.setup", x) for x in (ValueError, TypeError, KeyError)),
        *(("modules.StudentDistillModule.training_step", x) for x in (TypeError, RuntimeError)),
    ],
)
def test_a_fault_of_padseg_keeps_its_traceback(
    place, kind, data_root, textures, tmp_path, monkeypatch
):
    def faulty(*args, **kwargs):
        raise kind("fault")

    faulty.__code__ = faulty.__code__.replace(co_filename=sys.modules["padseg.modules"].__file__)
    monkeypatch.setattr(f"padseg.{place}", faulty)
    with pytest.raises(kind, match="fault"):
        fit(data_root, textures, tmp_path)


def test_a_hook_with_wrong_arguments_keeps_its_traceback(
    data_root, textures, tmp_path, monkeypatch
):
    monkeypatch.setattr("padseg.data.AnomalyDataModule.setup", lambda self: None)
    with pytest.raises(TypeError, match="unexpected keyword"):
        fit(data_root, textures, tmp_path)


def test_a_library_that_fails_below_padseg_keeps_its_traceback(
    data_root, textures, tmp_path, monkeypatch
):
    def faulty(*args, **kwargs):
        torch.zeros(2, 3) @ torch.zeros(2, 3)

    monkeypatch.setattr("padseg.modules.StudentDistillModule.training_step", faulty)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(data_root, textures, tmp_path)


def test_a_fault_of_the_users_own_callback_keeps_its_traceback(
    data_root, textures, tmp_path, monkeypatch
):
    class Own(Callback):
        def on_train_start(self, trainer, pl_module):
            raise ValueError("mine")

    module = types.ModuleType("own_callbacks")
    Own.__module__, Own.__qualname__ = "own_callbacks", "Own"
    module.Own = Own
    monkeypatch.setitem(sys.modules, "own_callbacks", module)
    with pytest.raises(ValueError, match="mine"):
        fit(data_root, textures, tmp_path, "--trainer.callbacks=own_callbacks.Own")


def test_a_full_device_is_told(data_root, textures, tmp_path, monkeypatch, capsys):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("padseg.modules.StudentDistillModule.training_step", full)
    assert fit(data_root, textures, tmp_path) == 2
    assert "out of memory: lower --data.batch_size" in capsys.readouterr().err


def test_run_tells_them_too(data_root, textures, tmp_path, capsys):
    run = ["run", "destseg", "--root", str(data_root), "--category", "widget", "--label", "odd"]
    run += ["--out", str(tmp_path), "--textures", str(textures), "--weights", "random"]
    run += ["--steps", "2", "2", "--model.teacher=test_resnet", "--model.width=16"]
    run += ["--batch-size", "4", "--model.image_size=64", *QUIET[:1]]
    assert main([*run, "--trainer.check_val_every_n_epoch=1"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "padseg: error: --trainer: `val_check_interval` (500) must be" in told
