"""ONNX files answer as the module does, in every runtime that reads them."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import ExifTags, Image

from padseg.export import export
from padseg.inference import load_module
from padseg.metrics.calibration import Calibration

from .helpers import SIZE, as_input, check_same, make, pixels, run_onnx, run_openvino

EXAMPLE = Path(__file__).parents[2] / "notebooks/detect_onnx.py"


@pytest.mark.parametrize("run", [run_onnx, run_openvino])
def test_runtimes_agree_with_the_module(run, stpm, stpm_onnx):
    module = load_module(stpm)
    for images in (pixels(1, SIZE, SIZE), pixels(6, SIZE, SIZE), pixels(3, 90, 70)):
        check_same(run(stpm_onnx, images), module, as_input(images), 1e-5)


def test_an_onnx_file_is_complete_and_described(stpm, stpm_onnx):
    model = onnx.load(stpm_onnx, load_external_data=False)
    assert not [x for x in model.graph.initializer if x.data_location == x.EXTERNAL]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    content = stpm_onnx.read_bytes()
    for place in (Path(torch.__file__).parent, Path(__file__).parents[2]):
        assert str(place).encode() not in content
    assert b"pkg.torch" not in content
    axes = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim[:3]]
    assert axes == ["batch", "height", "width"]
    described = json.loads({p.key: p.value for p in model.metadata_props}["padseg"])
    module = load_module(stpm)
    assert described["system"] == "stpm"
    assert described["teacher_sha256"] == module.student_teacher.fingerprint()
    assert described["image_size"] == [SIZE, SIZE]
    assert Calibration.from_dict(described["calibration"]) == module.calibration
    assert described["data_sha256"] is None


def test_the_example_needs_neither_padseg_nor_torch(stpm, stpm_onnx, tmp_path):
    images = pixels(2, 90, 70)
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    # The same grey in 8 and in 16 bits.
    grey = images[0].mean(axis=2).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    # The first image, lying on its side as its header says.
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(images[0])).save(tmp_path / "turned.png", exif=turned)
    code = (
        "import runpy, sys\n"
        "for name in ('padseg', 'torch', 'lightning', 'timm'): sys.modules[name] = None\n"
        "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    (tmp_path / "maps").mkdir()
    shutil.copy(tmp_path / "0.png", tmp_path / "maps/8.png")  # an image, which no map replaces
    (tmp_path / "else").mkdir()
    Image.fromarray(images[1][:40]).save(tmp_path / "else/1.png")
    (tmp_path / "else/notes.txt").touch()
    names = ["0.png", "1.png", "else", "maps/8.png", "8.png", "16.png", "turned.png"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLE), str(stpm_onnx), *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    module = load_module(stpm)
    with torch.no_grad():
        scores = module(as_input(images))["image_score"].tolist()
    *told, _, again, eight, sixteen, upright = [line.split() for line in done.stdout.splitlines()]
    assert eight[2:] == sixteen[2:]
    assert upright[2:] == again[2:] == told[0][2:]
    normalised = [module.calibration.image_scale(score) for score in scores]
    assert [float(line[2]) for line in told] == pytest.approx(normalised, abs=1e-3)
    threshold = module.calibration.image_threshold
    assert [line[3] == "anomalous" for line in told] == [score > threshold for score in scores]
    assert Image.open(tmp_path / "maps/1.png").size == (70, 90)
    assert Image.open(tmp_path / "maps/1_2.png").size == (70, 40)  # of the other folder
    assert (tmp_path / "maps/8.png").read_bytes() == (tmp_path / "0.png").read_bytes()
    assert Image.open(tmp_path / "maps/8_3.png").size == (70, 90)


def test_the_script_says_how_it_is_called(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--help"])
    with pytest.raises(SystemExit, match=r"python detect_onnx.py net.onnx part1.png"):
        runpy.run_path(str(EXAMPLE))


@pytest.mark.slow
@pytest.mark.parametrize(
    # PFADSeg's gates amplify rounding: a network this small differs from its float64 self by 3e-4.
    ("system", "tolerance", "options"),
    [
        ("rstpm", 1e-4, {}),
        ("destseg", 1e-4, {}),
        ("pfadseg", 1e-3, {}),
        ("tedseg", 1e-4, {}),
        ("tedseg", 1e-4, {"teacher": "test_vit3", "blocks": [[1, 2], [4]]}),
        ("tedseg", 1e-4, {"teacher2": "test_vit3", "weights2": "random", "blocks": [[1, 2], [4]]}),
    ],
)
def test_every_system_agrees_in_both_runtimes(system, tolerance, options, tmp_path):
    checkpoint = make(system, tmp_path, as_input(pixels(6, SIZE, SIZE)), **options)
    export(checkpoint, "onnx", tmp_path / "net.onnx")
    module = load_module(checkpoint)
    for images in (pixels(1, SIZE, SIZE), pixels(6, SIZE, SIZE), pixels(3, 90, 70)):
        for run in (run_onnx, run_openvino):
            check_same(run(tmp_path / "net.onnx", images), module, as_input(images), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["stpm", "destseg"])
def test_real_images_agree_in_both_runtimes(system, assets, tmp_path):
    paths = sorted((assets / "mvtec/bottle/test").rglob("*.png"))[::14]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    image = torch.from_numpy(images).permute(0, 3, 1, 2)
    real = {
        "teacher": "resnet18.tv_in1k",
        "weights": str(assets / "weights/resnet18_tv_in1k_trunk.safetensors"),
        "image_size": images.shape[1],
        "width": 64,
    }
    checkpoint = make(system, tmp_path, image, **real)
    export(checkpoint, "onnx", tmp_path / "net.onnx")
    for run in (run_onnx, run_openvino):
        check_same(run(tmp_path / "net.onnx", images), load_module(checkpoint), image, 1e-4)
