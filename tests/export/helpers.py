"""Checkpoints that are calibrated, images for them, and runtimes."""

from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from PIL import Image
from torch import nn

from padseg.metrics.calibration import Calibration
from padseg.models import ResidualBlock
from padseg.modules import AnomalyModule
from tiny import fill_memory, save_module, tiny_segmentation, tiny_student

SIZE = 64
OUTPUTS = ("score_map", "image_score", "score", "normalised_map", "anomalous")


def settle(module: AnomalyModule, images: torch.Tensor) -> None:
    """BatchNorm statistics of some images, as after training: else the features of a student explode.

    Untrained blocks with attention amplify a rounding of 1e-7 to 1e-3 (seen): their residuals are made small.
    """
    for part in module.modules():
        if isinstance(part, ResidualBlock) and part.fuse is not None:
            nn.init.constant_(part.bn2.weight, 0.1)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for _ in range(3):
            module.score_map(module.compare(images), (SIZE, SIZE))
    module.eval()


def make(system: str, folder: Path, images: torch.Tensor, **options) -> Path:
    """A calibrated checkpoint of the last phase; half of the images are anomalous."""
    torch.manual_seed(0)
    module: AnomalyModule = tiny_student(system, **{"image_size": SIZE, **options})
    fill_memory(module.student_teacher, images)
    settle(module, images)
    if module.parts.segmentation:
        distilled = save_module(module, folder / "distill.ckpt")
        module = tiny_segmentation(distilled)
        settle(module, images)
    with torch.no_grad():
        scores = module(images)["image_score"].sort().values
    median = float(scores[len(scores) // 2 - 1 : len(scores) // 2 + 1].mean())
    module.calibration = Calibration(
        image_threshold=median,
        pixel_threshold=0.5,
        false_alarm_rate=0.01,
        pixel_rate=0.001,
        expected_false_alarm_rate=1 / 11,
        normal_images=10,
    )
    return save_module(module, folder / "last.ckpt")


def pixels(count: int, height: int, width: int) -> np.ndarray:
    """Random blobs of different contrast, (B, H, W, 3)."""
    rng = np.random.default_rng(count * height * width)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height))) for x in coarse])


def as_input(images: np.ndarray) -> torch.Tensor:
    """(B, 3, SIZE, SIZE) uint8, resized by Pillow."""
    resized = [
        np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for image in images
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def run_onnx(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def run_openvino(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    # Its default on some processors is bfloat16.
    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(images)
    return {name: found[name] for name in OUTPUTS}


def check_same(
    found: dict[str, np.ndarray], module: AnomalyModule, image: torch.Tensor, tolerance: float
) -> None:
    with torch.no_grad():
        expected = module(image)
    assert module.calibration is not None
    verdicts = expected["image_score"] > module.calibration.image_threshold
    assert np.abs(found["score_map"] - expected["score_map"].numpy()).max() < tolerance
    assert np.abs(found["image_score"] - expected["image_score"].numpy()).max() < tolerance
    assert found["anomalous"].tolist() == verdicts.tolist()
    assert ((found["score"] > 0.5) == found["anomalous"]).all()
    scales = module.calibration.image_scale, module.calibration.pixel_scale
    for name, raw, scale in zip(
        ("score", "normalised_map"), ("image_score", "score_map"), scales, strict=True
    ):
        normalised = scale.of(found[raw].astype(np.float64))
        assert np.abs(found[name] - normalised).max() < 1e-5
