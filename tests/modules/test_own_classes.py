"""Modules, data and callbacks of users, made from padseg's."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback

from padseg.callbacks import ThresholdCallback
from padseg.cli import main
from padseg.data import AnomalyDataModule
from padseg.inference import Predictor
from padseg.modules import AnomalyModule, StudentDistillModule, read_checkpoint, read_header
from padseg.synthesis import SynthesisParams
from tiny import Seen, tiny_data, tiny_network, tiny_segmentation, tiny_student
from tiny import tiny_trainer as trainer


class MyStudent(StudentDistillModule):
    """A user's own, with an argument more."""

    def __init__(self, own: int = 3, **options) -> None:
        super().__init__(**options)
        self.own = own


class MyData(AnomalyDataModule):
    """A user's own."""


def test_modules_and_data_of_users_are_handed_over(data_root, textures, tmp_path):
    def fit(module, steps, resume=None):
        data = MyData(data_root, "widget", textures, 64, 4, num_workers=0)
        seen = Seen()
        fitter = trainer(tmp_path, steps, callbacks=[seen])
        fitter.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        fitter.save_checkpoint(tmp_path / f"{type(module).__name__}.ckpt")
        return torch.cat(seen.batches), data

    options = {"teacher": "test_resnet", "weights": "random", "width": 16, "image_size": 64}
    fit(MyStudent(own=4, **options), 2)
    assert Predictor(tmp_path / "MyStudent.ckpt", device="cpu").calibration is not None
    again, data = fit(MyStudent(own=4, **options), 3, tmp_path / "MyStudent.ckpt")
    assert torch.equal(again, data.pairs(8, 4)["clean"])
    handed_over, data = fit(tiny_segmentation(tmp_path / "MyStudent.ckpt"), 1)
    assert torch.equal(handed_over, data.pairs(12, 4)["clean"])


PAINT = SynthesisParams()


class SavesOptions(AnomalyDataModule):
    """A user's own that stores its options as Lightning advises; one of them is another object."""

    def __init__(self, *options, synthesis=PAINT, **more) -> None:
        super().__init__(*options, synthesis=synthesis, **more)
        self.save_hyperparameters()


class Remembers(Callback):
    """A user's own, whose state a checkpoint holds."""

    def __init__(self, state) -> None:
        self.state = state

    def state_dict(self):
        return {"state": self.state}


def test_a_checkpoint_can_be_read_whatever_users_add(data_root, textures, tmp_path, caplog):
    data = SavesOptions(data_root, "widget", textures, np.int64(64), np.int64(4), num_workers=0)
    thresholds = ThresholdCallback(np.float64(0.02), np.float32(0.001))
    fitter = trainer(tmp_path, 1, callbacks=[thresholds, Remembers(3)])
    fitter.fit(
        tiny_student("stpm", lr=np.logspace(-2, 0, 3)[1], width=np.int64(16)), datamodule=data
    )
    fitter.save_checkpoint(tmp_path / "last.ckpt")
    header = read_header(tmp_path / "last.ckpt")
    assert header.hyper_parameters["lr"] == 0.1
    assert header.calibration.false_alarm_rate == 0.02
    for state in (Path("state"), lambda: None):
        fitter = trainer(tmp_path, 1, callbacks=[Remembers(state)])
        fitter.fit(tiny_student("stpm"), datamodule=data)
        fitter.save_checkpoint(tmp_path / "other.ckpt")
        assert "Remembers" not in read_checkpoint(tmp_path / "other.ckpt")["callbacks"]
    told = (
        "Checkpoints are written without the state of Remembers, datamodule_hyper_parameters: only"
    )
    assert caplog.text.count(told) == 1


@pytest.mark.slow
def test_a_users_module_is_scored_with_its_own_code(
    data_root, textures, tmp_path, monkeypatch, capsys, caplog
):
    module = types.ModuleType("own_modules")
    module.MyStudent = MyStudent
    monkeypatch.setattr(MyStudent, "__module__", "own_modules")
    monkeypatch.setitem(sys.modules, "own_modules", module)
    data = tiny_data(data_root, textures)
    fitter = trainer(tmp_path, 1)
    fitter.fit(
        MyStudent(own=4, system="stpm", **tiny_network("stpm", image_size=64)), datamodule=data
    )
    fitter.save_checkpoint(tmp_path / "last.ckpt")
    arguments = ["test", "--ckpt_path", str(tmp_path / "last.ckpt"), "--data.root", str(data_root)]
    arguments += ["--data.category=widget", "--data.num_workers=0", "--trainer.accelerator=cpu"]
    arguments += [f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
    assert main([*arguments, "--model=own_modules.MyStudent"]) == 0
    assert "was trained as" not in caplog.text
    assert main(arguments) == 0
    assert "was trained as own_modules.MyStudent and is used as padseg's Student" in caplog.text
    caplog.clear()
    Predictor(tmp_path / "last.ckpt", device="cpu")
    assert "was trained as own_modules.MyStudent" in caplog.text


class Mixin(AnomalyModule):
    """What a user adds to the modules of both phases."""


class Left(Mixin, StudentDistillModule):
    """A user's own."""


class Right(StudentDistillModule, Mixin):
    """A user's own."""


@pytest.mark.parametrize("own", [Left, Right])
def test_a_mixin_for_both_phases_changes_no_checkpoint(own, data_root, tmp_path):
    module = own(system="stpm", **tiny_network("stpm", image_size=64))
    fitter = trainer(tmp_path, 1)
    fitter.fit(module, datamodule=tiny_data(data_root))
    fitter.save_checkpoint(tmp_path / "last.ckpt")
    header = read_header(tmp_path / "last.ckpt")
    assert header.class_name == "StudentDistillModule"
    assert header.subclass.endswith(own.__name__)
    assert Predictor(tmp_path / "last.ckpt", device="cpu").calibration is not None
    again = own.load_from_checkpoint(tmp_path / "last.ckpt")
    assert again.calibration == module.calibration


def test_thresholds_do_not_ask_the_hooks_of_a_users_module(data_root, tmp_path):
    class Saves(StudentDistillModule):
        """A user's own, whose predictions are others."""

        def predict_step(self, batch, batch_idx):
            return batch["path"]

    module = Saves(system="stpm", **tiny_network("stpm", image_size=64))
    trainer(tmp_path, 1).fit(module, datamodule=tiny_data(data_root))
    assert module.calibration is not None
