"""Each kind of backbone as a teacher: exported, in INT8, in tiles, with thresholds."""

import numpy as np
import pytest
import torch
from PIL import Image

from padseg.cli import main
from padseg.export import export
from padseg.inference import Predictor, load_module
from padseg.inference.tiles import tile_boxes
from padseg.modules import read_header

from .helpers import SIZE, as_input, check_same, make, pixels, run_onnx, run_openvino


@pytest.fixture(
    scope="module",
    params=[
        ("stpm", "test_efficientnet"),
        ("destseg", "test_convnext"),  # no batch norm
        ("tedseg", "tf_efficientnet_lite0"),  # padded as TensorFlow does it
        ("tedseg", "test_vit3"),
    ],
    ids=lambda pair: "-".join(pair),
)
def checkpoint(request, tmp_path_factory):
    system, teacher = request.param
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(teacher)
    return make(system, folder, as_input(pixels(6, SIZE, SIZE)), teacher=teacher)


@pytest.mark.slow
def test_exported_networks_agree_in_both_runtimes(checkpoint, tmp_path):
    images = pixels(6, 90, 70)
    for index, image in enumerate(images[:2]):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    module = load_module(checkpoint)
    export(checkpoint, "onnx", tmp_path / "full.onnx")
    export(checkpoint, "onnx", tmp_path / "int8.onnx", int8=[tmp_path])
    for run in (run_onnx, run_openvino):
        check_same(run(tmp_path / "full.onnx", images), module, as_input(images), 1e-4)
    full, int8 = (run_onnx(tmp_path / f"{name}.onnx", images) for name in ("full", "int8"))
    moved = np.abs(full["score_map"] - int8["score_map"]).max()
    assert 0 < moved < 0.2 * full["score_map"].max()


@pytest.mark.slow
def test_tiles_have_their_own_thresholds(checkpoint, tmp_path):
    images = pixels(4, 90, 70)
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    path = tmp_path / "tiled.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    args = ["--tile", "48", "--precision", "32-true", "--device", "cpu"]
    assert main(["calibrate", str(path), str(tmp_path), *args]) == 0
    calibration = read_header(path).calibration
    assert calibration.tile == 48
    tiled = Predictor(path, device="cpu", tile=48)
    whole = Predictor(path, device="cpu")
    boxes = tile_boxes(90, 70, 48)
    scores = []
    for image in images:
        parts = [image[box.top : box.bottom, box.left : box.right] for box in boxes]
        scores.append(max(one.image_score for one in whole(parts)))
        found = tiled(image)
        assert found.image_score == pytest.approx(scores[-1], abs=1e-5)
        assert found.anomalous == (found.image_score > calibration.image_threshold)
    assert calibration.image_threshold == pytest.approx(max(scores), abs=1e-5)
