"""What a training resumes from."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from padseg.callbacks import ResumeCheckpoint
from padseg.data.datasets import TrainDataset
from padseg.errors import CheckpointError, ConfigError
from padseg.modules import read_checkpoint
from tiny import tiny_data, tiny_student, tiny_trainer


def saving(steps: int, *callbacks: Callback, **options) -> Trainer:
    """A Trainer that saves checkpoints."""
    return tiny_trainer(None, steps, callbacks=[*callbacks], enable_checkpointing=True, **options)


def accumulating(steps: int, validated_every: int | None, *callbacks: Callback) -> Trainer:
    """A Trainer whose steps take three batches each."""
    return saving(
        steps,
        *callbacks,
        accumulate_grad_batches=3,
        val_check_interval=validated_every,
        check_val_every_n_epoch=None if validated_every else 1,
        num_sanity_val_steps=2,
    )


class Watched(ResumeCheckpoint):
    """Its interval passes within the second step, of batches 3, 4 and 5."""

    batches: list[int]
    now = 0.0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 4:
            self.now = 100.0

    def _save_topk_checkpoint(self, trainer, candidates):
        self.batches.append(trainer.fit_loop.epoch_loop.batch_progress.current.ready)


@pytest.mark.parametrize("validated_every", [None, 5])
def test_no_checkpoint_amid_an_accumulated_step(data_root, tmp_path, monkeypatch, validated_every):
    torch.manual_seed(0)
    module = tiny_student("stpm", image_size=32, loss_reduction="batch_sum")
    data = tiny_data(data_root, image_size=32, batch_size=2)
    callback = Watched(tmp_path, train_time_interval=timedelta(seconds=60), save_last=False)
    callback.batches = []
    clock = SimpleNamespace(monotonic=lambda: callback.now)
    for module_with_a_clock in (
        "lightning.pytorch.callbacks.model_checkpoint",
        "padseg.callbacks.resume",
    ):
        monkeypatch.setattr(f"{module_with_a_clock}.time", clock)
    logged, backward = [], []
    module.log = lambda name, value, **options: logged.append(float(value.detach()))
    module.on_before_backward = lambda loss: backward.append(float(loss.detach()))
    trainer = accumulating(3, validated_every, callback)
    trainer.fit(module, datamodule=data)
    assert callback.batches == [6]
    # Lightning divides by the batches of a step; the sum over its images is meant.
    assert backward == pytest.approx(logged)


def test_a_checkpoint_amid_an_accumulated_step_is_no_start(data_root, tmp_path):
    """Lightning's own callback saves after each validation, here after 4, 8 and 12 batches."""

    def fit(steps, resumed=None, accumulated=3):
        saving = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1)
        trainer = accumulating(steps, 4, saving)
        trainer.accumulate_grad_batches = accumulated
        data = tiny_data(data_root, image_size=32, batch_size=1)
        trainer.fit(tiny_student("stpm", image_size=32), data, ckpt_path=resumed)
        return data

    fit(4)
    with pytest.raises(CheckpointError, match=r"after 4 batches, in the middle of an accumulated"):
        fit(5, tmp_path / "step=1.ckpt")
    with pytest.raises(
        CheckpointError, match=r"not a whole number of steps of --trainer.accumulate_grad_b\w+ 5"
    ):
        fit(5, tmp_path / "step=4.ckpt", accumulated=5)
    assert fit(5, tmp_path / "step=4.ckpt").state_dict()["batches"] == 15


def test_a_folder_elsewhere_is_refused(data_root):
    module, data = tiny_student("stpm", image_size=32), tiny_data(data_root, image_size=32)
    trainer = saving(1, ResumeCheckpoint("memory://folder"))
    with pytest.raises(ConfigError, match=r"go to memory://folder: give a --checkpoint\.dirpath"):
        trainer.fit(module, datamodule=data)


def fit(data_root, folder, steps, batch_size=2, lr=0.1):
    """Train to a step, from where the folder's checkpoint stands."""
    module = tiny_student("stpm", image_size=32, lr=lr)
    data = tiny_data(data_root, image_size=32, batch_size=batch_size)
    trainer = saving(steps, ResumeCheckpoint(str(folder)), limit_val_batches=0)
    last = folder / "last.ckpt"
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    return read_checkpoint(last)


class Saves(ResumeCheckpoint):
    """Notes the steps at which it saves."""

    def _save_topk_checkpoint(self, trainer, candidates):
        self.steps = [*getattr(self, "steps", []), trainer.global_step]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"train_time_interval": timedelta(0)}, [1, 2, 3]),
        ({"train_time_interval": timedelta(hours=1)}, []),
        ({"every_n_train_steps": 2}, [2]),
    ],
)
@pytest.mark.parametrize("system", ["stpm", "tedseg"])
def test_students_with_and_without_gradients_are_saved_in_time(
    data_root, tmp_path, options, steps, system
):
    module = tiny_student(system, image_size=32)
    callback = Saves(tmp_path, save_last=False, **options)
    trainer = saving(3, callback, limit_val_batches=0)
    trainer.fit(module, datamodule=tiny_data(data_root, image_size=32, batch_size=2))
    assert getattr(callback, "steps", []) == steps


def test_a_training_goes_on_with_the_options_it_began_with(data_root, tmp_path):
    fit(data_root, tmp_path, 1)
    told = r"trained with --model.lr 0\.1, not 0\.2: resume with the same options"
    with pytest.raises(CheckpointError, match=told):
        fit(data_root, tmp_path, 2, lr=0.2)
    assert fit(data_root, tmp_path, 2)["global_step"] == 2


class Stops(Callback):
    """Ends a training as Timer does after a batch, or EarlyStopping after a validation."""

    def __init__(self, validated):
        self.validated = validated

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop |= not self.validated and batch_idx == 3

    def on_validation_end(self, trainer, pl_module):
        trainer.should_stop |= self.validated and trainer.fit_loop.batch_idx == 3


@pytest.mark.slow
@pytest.mark.parametrize("validated", [False, True])
def test_a_training_that_stops_amid_a_step_finishes_it(data_root, tmp_path, validated):
    def fit(folder, *stops, resumed=None):
        torch.manual_seed(0)
        module = tiny_student("stpm", image_size=32)
        data = tiny_data(data_root, image_size=32, batch_size=2)
        trainer = accumulating(4, 4, *stops, ResumeCheckpoint(str(folder)))
        trainer.fit(module, datamodule=data, ckpt_path=resumed)
        return read_checkpoint(folder / "last.ckpt")

    whole = fit(tmp_path / "whole")
    assert fit(tmp_path / "cut", Stops(validated))["global_step"] == 2
    resumed = fit(tmp_path / "cut", resumed=tmp_path / "cut/last.ckpt")
    assert resumed["global_step"] == 4
    assert resumed["AnomalyDataModule"] == whole["AnomalyDataModule"]
    assert resumed["AnomalyDataModule"]["batches"] == 4 * 3
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name


def test_no_sample_comes_twice_when_a_training_goes_on_with_larger_batches(
    data_root, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        TrainDataset,
        "__getitem__",
        lambda self, n: drawn.append(n) or {"image": torch.from_numpy(self.images[0]), "index": 0},
    )
    fit(data_root, tmp_path, 3, batch_size=2)
    checkpoint = fit(data_root, tmp_path, 6, batch_size=4)
    assert drawn == list(range(3 * 2 + 3 * 4))
    assert checkpoint["AnomalyDataModule"]["batches"] == 6
