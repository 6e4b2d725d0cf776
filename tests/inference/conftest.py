"""A small untrained module, with thresholds that some pixels and images exceed, and its checkpoint."""

from pathlib import Path

import pytest
import torch

from padseg.modules import StudentDistillModule
from tiny import save_module, tiny_student


@pytest.fixture(scope="session")
def module(make_calibration) -> StudentDistillModule:
    torch.manual_seed(0)
    module = tiny_student(top_k=5)
    module.calibration = make_calibration(0.05, 0.02)
    return module.eval()


@pytest.fixture(scope="session")
def checkpoint(module, tmp_path_factory) -> Path:
    return save_module(module, tmp_path_factory.mktemp("module") / "module.ckpt")
