"""A small untrained network with thresholds, and images that it judges."""

from pathlib import Path

import numpy as np
import pytest
import torch

from padseg.inference import Predictor
from padseg.metrics.calibration import Calibration
from padseg.modules import StudentDistillModule
from tiny import save_module, tiny_student


@pytest.fixture(scope="session")
def pictures(data_root) -> list[Path]:
    """Two defects of the made category, then two good parts."""
    test = data_root / "widget/test"
    return [*sorted(test.glob("spot/*.png"))[:2], *sorted(test.glob("good/*.png"))[:2]]


@pytest.fixture(scope="session")
def module(pictures) -> StudentDistillModule:
    """Its thresholds lie between the scores of the pictures."""
    torch.manual_seed(0)
    module = tiny_student(top_k=5).eval()
    found = Predictor(module, device="cpu", precision="32-true")(pictures)
    scores = sorted(answer.image_score for answer in found)
    pixel = float(np.quantile([answer.score_map for answer in found], 0.9))
    module.calibration = Calibration(
        *((scores[1] + scores[2]) / 2, pixel, 0.01, 0.001, 0.25), normal_images=3
    )
    return module


@pytest.fixture
def predictor(module) -> Predictor:
    return Predictor(module, device="cpu", precision="32-true")


@pytest.fixture(scope="session")
def checkpoint(module, tmp_path_factory) -> Path:
    return save_module(module, tmp_path_factory.mktemp("module") / "module.ckpt")
