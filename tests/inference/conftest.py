"""A small untrained module, with thresholds that some pixels and images exceed, and its checkpoint."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer

from padseg.modules import StudentDistillModule
from tiny import tiny_student


@pytest.fixture(scope="session")
def module(make_calibration) -> StudentDistillModule:
    torch.manual_seed(0)
    module = tiny_student(top_k=5)
    module.calibration = make_calibration(0.05, 0.02)
    return module.eval()


def save_module(module: StudentDistillModule, path: Path) -> Path:
    trainer = Trainer(accelerator="cpu", logger=False, barebones=True)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)
    return path


@pytest.fixture(scope="session")
def checkpoint(module, tmp_path_factory) -> Path:
    return save_module(module, tmp_path_factory.mktemp("module") / "module.ckpt")
