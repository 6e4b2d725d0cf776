"""Compiled training."""

import shutil

import pytest
import torch
from lightning import Callback

from padseg.callbacks import CompileCallback
from padseg.callbacks.compile import trained_parts
from padseg.modules import SegmentationModule
from tiny import save_module, tiny_student, tiny_trainer


class Losses(Callback):
    def __init__(self):
        self.values, self.compiled = [], set()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(outputs["loss"]))
        self.compiled = {
            name for name, part in pl_module.named_modules() if part._compiled_call_impl is not None
        }


def train(make_data, mode, accelerator="cpu"):
    torch.manual_seed(0)
    module, losses = tiny_student(lr=0.02), Losses()
    callbacks = [CompileCallback(mode), losses]
    trainer = tiny_trainer(None, 3, accelerator=accelerator, devices=1, callbacks=callbacks)
    trainer.fit(module, datamodule=make_data())
    return module, losses


@pytest.mark.slow
def test_compiles_what_is_trained_and_leaves_no_trace(make_data):
    plain, losses = train(make_data, None)
    assert losses.compiled == set()
    with torch.compiler.set_stance("force_eager"):
        module, found = train(make_data, "default")
    assert found.compiled == {"student_teacher.student"}
    assert found.values == losses.values
    assert all(part._compiled_call_impl is None for part in module.modules())
    state = module.state_dict()
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())


def test_the_head_is_what_phase_two_trains(tmp_path):
    module = tiny_student()
    head = SegmentationModule(save_module(module, tmp_path / "distill.ckpt"))
    assert [*trained_parts(head)] == [head.segmentation]
    assert [*trained_parts(module)] == [module.student_teacher.student]


def assert_compiled_alike(make_data, mode, accelerator, first, later):
    _, losses = train(make_data, None, accelerator)
    _, found = train(make_data, mode, accelerator)
    assert found.values[0] == pytest.approx(losses.values[0], rel=first)
    assert found.values == pytest.approx(losses.values, rel=later)  # rounding grows with the steps


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_steps_are_those_of_the_network(make_data):
    assert_compiled_alike(make_data, "default", "cpu", 1e-4, 0.01)


@pytest.mark.gpu
@pytest.mark.usefixtures("without_tf32")
@pytest.mark.timeout(1200)
def test_compiled_steps_on_a_gpu(make_data, gpu):
    """With CUDA graphs."""
    assert_compiled_alike(make_data, "reduce-overhead", gpu, 1e-3, 0.02)
