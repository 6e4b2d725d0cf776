"""Trainings that average their weights."""

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from padseg.callbacks import ResumeCheckpoint
from padseg.modules import read_checkpoint
from tiny import tiny_data, tiny_segmentation, tiny_student, tiny_trainer


class Stop(Callback):
    """Ends a training early."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop |= trainer.global_step == 2


def fit_averaged(module, data, folder, steps, *callbacks, resumed=None, averaging=None):
    """Train a module with averages; return the Trainer."""
    averaging = averaging or EMAWeightAveraging(decay=0.8)
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
        callbacks=[averaging, *callbacks],
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


AVERAGES = {
    "exponential": lambda: EMAWeightAveraging(decay=0.9),
    "of lists": lambda: WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(0.9)),
    "equal": WeightAveraging,
}


@pytest.mark.slow
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("system", ["destseg", "tedseg"])
def test_averages_leave_what_is_not_trained_as_it_is(
    data_root, textures, tmp_path, average, system
):
    """In phase one the teacher, in phase two the student too; then a training goes on exactly."""
    data = tiny_data(data_root, textures)
    module, path = tiny_student(system), tmp_path / "distill.ckpt"
    if system == "tedseg":  # whose first phase has no averages
        first = tiny_trainer(tmp_path, 2)
        first.fit(module, datamodule=data)
    else:
        before, constants = module.student_teacher.fingerprint(), module.student_teacher.normalize
        mean, std = constants.mean.clone(), constants.std.clone()
        first = fit_averaged(module, data, tmp_path, 3, averaging=AVERAGES[average]())
        assert module.student_teacher.fingerprint() == before
        assert torch.equal(constants.mean, mean)
        assert torch.equal(constants.std, std)
    first.save_checkpoint(path)

    def segmentation():
        torch.manual_seed(0)
        return tiny_segmentation(path)

    frozen = segmentation().student_teacher
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    whole, resumed = segmentation(), segmentation()
    fit_averaged(whole, data, tmp_path, 6, saving, averaging=AVERAGES[average]())
    assert same(frozen, whole.student_teacher)
    half = tmp_path / "step=3.ckpt"
    fit_averaged(resumed, data, tmp_path, 6, resumed=half, averaging=AVERAGES[average]())
    assert same(resumed, whole)
    assert resumed.calibration == whole.calibration


@pytest.mark.slow
def test_a_training_with_averages_that_was_cut_off_twice_goes_on(data_root, tmp_path):
    data = tiny_data(data_root, image_size=32)
    whole, resumed = student(), None
    paths = [None, tmp_path / "0/step=1.ckpt", tmp_path / "1/step=3.ckpt"]
    for number, path in enumerate(paths):
        folder = tmp_path / str(number)
        saving = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
        resumed = student()
        fit_averaged(resumed if path else whole, data, tmp_path, 4, saving, resumed=path)
    assert same(resumed, whole)
