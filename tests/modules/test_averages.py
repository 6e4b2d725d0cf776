"""Trainings that average their weights."""

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from padseg.callbacks import ResumeCheckpoint
from padseg.modules import read_checkpoint
from tiny import tiny_data, tiny_student


class Stop(Callback):
    """Ends a training early."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop |= trainer.global_step == 2


def fit_averaged(module, data, folder, steps, *callbacks, resumed=None):
    """Train a module with averages; return the Trainer."""
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=-1,
        max_steps=steps,
        logger=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[EMAWeightAveraging(decay=0.8), *callbacks],
    )
    trainer.fit(module, datamodule=data, ckpt_path=resumed)
    return trainer


def student():
    torch.manual_seed(0)
    return tiny_student("stpm", image_size=32)


def same(module, other):
    ours, theirs = module.state_dict(), other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "extended", "saved at the end", "finished twice"])
def test_a_training_with_averages_goes_on_from_the_weights_being_trained(data_root, tmp_path, how):
    data = tiny_data(data_root, image_size=32)
    whole, cut, resumed = student(), student(), student()
    fit_averaged(whole, data, tmp_path, 4)
    path = tmp_path / "last.ckpt"
    if how == "saved at the end":
        fit_averaged(cut, data, tmp_path, 2).save_checkpoint(path)
    else:
        stops = [Stop()] if how == "stopped" else []
        fit_averaged(
            cut, data, tmp_path, 4 if stops else 2, *stops, ResumeCheckpoint(str(tmp_path))
        )
    if how == "finished twice":
        again = ResumeCheckpoint(str(tmp_path))
        fit_averaged(student(), data, tmp_path, 2, again, resumed=path)
    checkpoint = read_checkpoint(path)
    averages = cut.state_dict()
    assert all(torch.equal(averages[key], kept) for key, kept in checkpoint["state_dict"].items())
    fit_averaged(resumed, data, tmp_path, 4, resumed=path)
    assert same(resumed, whole)
