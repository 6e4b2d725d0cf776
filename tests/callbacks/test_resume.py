"""What a training resumes from."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer

from padseg.callbacks import BestCheckpoint, ResumeCheckpoint
from padseg.data.datasets import TrainDataset
from padseg.errors import CheckpointError
from padseg.lightning_cli.recipes import config_path
from padseg.modules import read_checkpoint
from tiny import tiny_arguments, tiny_data, tiny_student


@pytest.mark.parametrize(("moved", "copied"), [(False, False), (True, False), (True, True)])
def test_the_best_step_is_remembered_in_another_folder(tmp_path, moved, copied):
    first = BestCheckpoint(dirpath=tmp_path / "version_0", monitor="level")
    path = tmp_path / "version_0/best.ckpt"
    first.best_model_path = first.kth_best_model_path = str(path)
    first.best_model_score = first.kth_value = torch.tensor(0.1)
    first.best_k_models = {str(path): torch.tensor(0.1)}
    second = BestCheckpoint(dirpath=tmp_path / "version_1", monitor="level")
    now = tmp_path / ("version_1" if moved else "version_0") / "best.ckpt"
    for there in (now, path) if copied else (now,):
        there.parent.mkdir()
        there.touch()
    second.load_state_dict(first.state_dict())
    assert second.best_model_score == pytest.approx(0.1)
    assert second.best_model_path == second.kth_best_model_path == str(now)
    assert second.best_k_models == {str(now): torch.tensor(0.1)}


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
    monkeypatch.setattr("lightning.pytorch.callbacks.model_checkpoint.time", clock)
    logged, backward = [], []
    module.log = lambda name, value, **options: logged.append(float(value))
    module.on_before_backward = lambda loss: backward.append(float(loss))
    trainer = Trainer(
        accelerator="cpu",
        max_steps=3,
        max_epochs=-1,
        accumulate_grad_batches=3,
        val_check_interval=validated_every,
        check_val_every_n_epoch=None if validated_every else 1,
        logger=False,
        enable_progress_bar=False,
        callbacks=[callback],
    )
    trainer.fit(module, datamodule=data)
    assert callback.batches == [6]
    # Lightning divides by the batches of a step; the sum over its images is meant.
    assert backward == pytest.approx(logged)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
@pytest.mark.parametrize("told", [0, 1])
def test_two_processes_stop_at_the_same_step_when_one_is_told(data_root, tmp_path, told):
    worker = Path(__file__).with_name("stopped_worker.py")
    command = [
        *(sys.executable, str(worker), str(told), "fit"),
        *("--config", str(config_path("stpm", "distill")), f"--data.root={data_root}"),
        *("--data.category=widget", "--data.batch_size=2", "--data.num_workers=0"),
        *("--model.weights=random", *tiny_arguments(32)),
        *("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"),
        *("--trainer.max_steps=8", "--trainer.logger=false", f"--checkpoint.dirpath={tmp_path}"),
        *("--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path}"),
    ]
    path = os.pathsep.join([str(worker.parents[2]), *sys.path])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1, done.stderr
    last = tmp_path / "last.ckpt"
    assert f"stopped by SIGTERM; the same command with --ckpt_path {last} goes on" in done.stderr
    assert read_checkpoint(last)["global_step"] == 4


def fit(data_root, folder, steps, batch_size=2, lr=0.1):
    """Train to a step, from where the folder's checkpoint stands."""
    module = tiny_student("stpm", image_size=32, lr=lr)
    data = tiny_data(data_root, image_size=32, batch_size=batch_size)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        callbacks=[ResumeCheckpoint(str(folder))],
        enable_progress_bar=False,
        limit_val_batches=0,
    )
    last = folder / "last.ckpt"
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    return read_checkpoint(last)


def test_lightning_still_has_what_stopping_together_replaces():
    trainer = Trainer(accelerator="cpu", barebones=True)
    assert callable(trainer._signal_connector._sigterm_notifier_fn)
    assert callable(trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor)


def test_a_training_goes_on_with_the_options_it_began_with(data_root, tmp_path):
    fit(data_root, tmp_path, 1)
    told = r"trained with --model.lr 0\.1, not 0\.2: a training goes on"
    with pytest.raises(CheckpointError, match=told):
        fit(data_root, tmp_path, 2, lr=0.2)
    assert fit(data_root, tmp_path, 2)["global_step"] == 2


def test_no_sample_comes_twice_when_a_training_goes_on_with_larger_batches(
    data_root, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        TrainDataset,
        "__getitem__",
        lambda self, n: drawn.append(n) or {"image": torch.from_numpy(self.images[0])},
    )
    fit(data_root, tmp_path, 3, batch_size=2)
    checkpoint = fit(data_root, tmp_path, 6, batch_size=4)
    assert drawn == list(range(3 * 2 + 3 * 4))
    assert checkpoint["AnomalyDataModule"]["batches"] == 6
