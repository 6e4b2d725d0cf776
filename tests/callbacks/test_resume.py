"""What a training goes on from."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer

from padseg.callbacks import BestCheckpoint, ResumeCheckpoint
from padseg.data import AnomalyDataModule
from padseg.modules import StudentDistillModule


@pytest.mark.parametrize("moved", [False, True])
def test_the_best_step_is_remembered_in_another_folder(tmp_path, moved):
    first = BestCheckpoint(dirpath=tmp_path / "version_0", monitor="level")
    path = tmp_path / "version_0/best.ckpt"
    first.best_model_path = first.kth_best_model_path = str(path)
    first.best_model_score = first.kth_value = torch.tensor(0.1)
    first.best_k_models = {str(path): torch.tensor(0.1)}
    second = BestCheckpoint(dirpath=tmp_path / "version_1", monitor="level")
    now = tmp_path / ("version_1" if moved else "version_0") / "best.ckpt"
    now.parent.mkdir()
    now.touch()
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


def test_no_checkpoint_amid_an_accumulated_step(data_root, tmp_path, monkeypatch):
    torch.manual_seed(0)
    module = StudentDistillModule(
        "stpm", "test_resnet", weights="random", image_size=32, loss_reduction="batch_sum"
    )
    data = AnomalyDataModule(
        str(data_root), "widget", image_size=32, batch_size=2, num_workers=0, synthesis=None
    )
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
        logger=False,
        enable_progress_bar=False,
        callbacks=[callback],
    )
    trainer.fit(module, datamodule=data)
    assert callback.batches == [6]
    # Lightning divides by the batches of a step; the sum over its images is meant.
    assert backward == pytest.approx(logged)
