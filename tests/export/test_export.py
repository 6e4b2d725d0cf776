"""Exported networks agree with the module and do not need padseg."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from PIL import ExifTags, Image
from torch import nn

from padseg.cli import main
from padseg.data.images import resize as resize_image
from padseg.errors import CheckpointError, PadsegError
from padseg.export.export import export, find_run, write_new
from padseg.export.network import Deployed, fold_batch_norms, resize
from padseg.inference import load_module
from padseg.metrics.calibration import Calibration
from padseg.models import ResidualBlock
from padseg.modules import AnomalyModule, read_header
from tiny import tiny_segmentation, tiny_student

EXAMPLE = Path(__file__).parents[2] / "notebooks/detect_onnx.py"
SIZE = 64


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


def save(module: AnomalyModule, path: Path) -> Path:
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return path


def make(system: str, folder: Path, images: torch.Tensor, **options) -> Path:
    """A calibrated checkpoint of the last phase; half of the images are anomalous."""
    torch.manual_seed(0)
    module: AnomalyModule = tiny_student(system, **{"image_size": SIZE, **options})
    settle(module, images)
    if system in ("destseg", "pfadseg"):
        distilled = save(module, folder / "distill.ckpt")
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
    return save(module, folder / "last.ckpt")


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
    return {name: found[name] for name in ("score_map", "image_score", "anomalous")}


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


@pytest.fixture(scope="module")
def stpm(tmp_path_factory) -> Path:
    return make("stpm", tmp_path_factory.mktemp("stpm"), as_input(pixels(6, SIZE, SIZE)))


@pytest.fixture(scope="module")
def stpm_onnx(stpm) -> Path:
    out = stpm.with_name("net.onnx")
    assert main(["export", str(stpm), "--format", "onnx", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("length", [1, 5, 40, 64, 100, 129, 300])
def test_resize_is_that_of_pillow(length):
    rng = np.random.default_rng(length)
    for shape in ((length, length + 31), (length + 31, length), (10 * length, length), (900, 40)):
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        expected = resize_image(Image.fromarray(image), (48, 64))
        found = resize(torch.from_numpy(image).permute(2, 0, 1)[None].float(), (48, 64))
        assert np.array_equal(found[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_batch_norms_are_folded_by_what_flows(stpm):
    module, folded = load_module(stpm), load_module(stpm)
    image = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        fold_batch_norms(folded, (SIZE, SIZE))
        torch.testing.assert_close(folded(image)["score_map"], module(image)["score_map"])
    assert not [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d)]


def test_float16_weights_stay_close(stpm):
    module = load_module(stpm)
    images = pixels(2, SIZE, SIZE)
    with torch.no_grad():
        found = Deployed(module, half=True)(torch.from_numpy(images))["score_map"]
        expected = module(as_input(images))["score_map"]
    assert 0 < (found - expected).abs().max() < 5e-3


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
    names = ["0.png", "1.png", "8.png", "16.png", "turned.png"]
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
    *told, eight, sixteen, upright = [line.split() for line in done.stdout.splitlines()]
    assert eight[2:] == sixteen[2:]
    assert upright[2:] == told[0][2:]
    assert [float(line[2]) for line in told] == pytest.approx(scores, abs=1e-3)
    threshold = module.calibration.image_threshold
    assert [line[3] == "anomalous" for line in told] == [score > threshold for score in scores]
    assert Image.open(tmp_path / "1_map.png").size == (70, 90)


@pytest.mark.slow
def test_int8_takes_its_ranges_from_images(stpm, stpm_onnx, tmp_path, capsys):
    for index, image in enumerate(pixels(6, 90, 70)):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    out = tmp_path / "net.onnx"
    for _ in range(2):  # the same bytes: nothing to refuse
        args = ["export", str(stpm), "--format", "onnx", "--out", str(out), "--int8", str(tmp_path)]
        assert main(args) == 0
    told = " ".join(capsys.readouterr().out.split())
    model = onnx.load(out)
    described = json.loads({p.key: p.value for p in model.metadata_props}["padseg"])
    assert described["weights"] == "int8"
    fed_by = {node.output[0]: node.op_type for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        assert {fed_by[name] for name in node.input} == {"DequantizeLinear"}
    assert out.stat().st_size < stpm_onnx.stat().st_size / 2
    images = pixels(6, 90, 70)
    expected = run_onnx(stpm_onnx, images)
    for run in (run_onnx, run_openvino):
        found = run(out, images)
        moved = np.abs(found["score_map"] - expected["score_map"]).max()
        assert 0 < moved < 0.1 * expected["score_map"].max()
    moved = np.abs(run_onnx(out, images)["score_map"] - expected["score_map"]).max()
    assert (
        f"On these 6 normal images the score maps of INT8 and float32 differ by {moved:.4f}" in told
    )
    assert "Maps of defects can differ more" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "kept"),
    [("destseg", 1), ("pfadseg", 1), ("rstpm", 0)],
)
def test_int8_leaves_out_what_makes_logits(system, kept, tmp_path):
    """Their range on normal images would cap the scores of defects."""
    blobs = pixels(6, 90, 70)
    for index, image in enumerate(blobs[:2]):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    checkpoint = make(system, tmp_path, as_input(pixels(6, SIZE, SIZE)))
    export(checkpoint, "onnx", tmp_path / "net.onnx", int8=[tmp_path])
    graph = onnx.load(tmp_path / "net.onnx").graph
    maker = {name: node for node in graph.node for name in node.output}
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    full = [node for node in convolutions if node.input[1] not in maker]
    assert len(full) == kept
    for node in full:
        assert tuple(shapes[node.input[1]]) == (1, 16, 1, 1)
        assert maker[node.input[0]].op_type == "Relu"
    for node in convolutions:
        expected = set() if node in full else {"DequantizeLinear"}
        assert {maker[name].op_type for name in node.input[1:] if name in maker} == expected
    assert run_onnx(tmp_path / "net.onnx", blobs)["score_map"].shape == (6, 1, SIZE, SIZE)


def test_safetensors_come_back_without_pickle(stpm, tmp_path, monkeypatch):
    for out in (tmp_path / "net.safetensors", tmp_path / "hub"):
        export(stpm, "safetensors", out)
        export(stpm, "safetensors", out)  # the same bytes: nothing to refuse
    expected = load_module(stpm)

    def refuse(*args, **kwargs):
        raise AssertionError("nothing may be unpickled")

    monkeypatch.setattr("torch.load", refuse)
    for path in (tmp_path / "net.safetensors", tmp_path / "hub"):
        module = load_module(path)
        assert module.calibration == expected.calibration
        for name, value in expected.state_dict().items():
            assert torch.equal(module.state_dict()[name], value), name
    names = sorted(path.name for path in (tmp_path / "hub").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((tmp_path / "hub/config.json").read_text())
    assert config["module"]["hyper_parameters"]["image_size"] == [SIZE, SIZE]


def test_the_model_card_tells_what_the_run_measured(stpm, tmp_path):
    run = {
        "system": "stpm",
        "category": "widget",
        "seed": 3,
        "pixel_ap": 0.7654,
        "image_auroc": None,
        "train_minutes": 2.0,
        "fingerprint": {
            "options": {"steps": [7], "batch_size": None, "overrides": {"model.lr": "0.1"}},
            "versions": {"torch": "2"},
            "data_sha256": "abc",
            "teacher_sha256": load_module(stpm).student_teacher.fingerprint(),
        },
    }
    beside = stpm.with_name("metrics.json")
    try:
        beside.write_text(json.dumps(run))
        export(stpm, "safetensors", tmp_path / "hub")
        run["fingerprint"]["teacher_sha256"] = "another"
        beside.write_text(json.dumps(run))
        export(stpm, "safetensors", tmp_path / "other")
        for content in ("", "[]", '{"loss": 1}'):  # somebody else's file of this name
            beside.write_text(content)
            assert find_run(stpm, read_header(stpm)) is None
    finally:
        beside.unlink()
    card = (tmp_path / "hub/README.md").read_text()
    for part in ("# STPM for widget", "76.5", "model.lr 0.1", "BMVC 2021", "10 normal images"):
        assert part in card
    assert json.loads((tmp_path / "hub/config.json").read_text())["data_sha256"] == "abc"
    assert "Not known" in (tmp_path / "other/README.md").read_text()


def test_thresholds_of_other_scores_are_told(stpm, data_root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("padseg.export.export._torch", lambda *_: b"a program")
    good = str(data_root / "widget/train/good")
    for options, told in (
        (("--precision", "bf16-mixed"), "set in bf16-mixed, the exported network computes"),
        (
            ("--tile", "40", "--precision", "32-true"),
            "set with --tile 40, the exported network takes",
        ),
    ):
        ours = tmp_path / f"{options[1]}.ckpt"
        shutil.copy(stpm, ours)
        assert main(["calibrate", str(ours), good, "--device", "cpu", *options]) == 0
        threshold = Deployed(load_module(ours)).threshold
        assert (threshold is None) == ("--tile" in options)
        out = tmp_path / f"{options[1]}.pt2"
        assert main(["export", str(ours), "--format", "torch", "--out", str(out)]) == 0
        assert told in caplog.text
        caplog.clear()


def test_files_of_other_content_are_kept(stpm, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    out.write_text("mine")
    assert main(["export", str(stpm), "--format", "safetensors", "--out", str(out)]) == 2
    assert "exists with other content" in capsys.readouterr().err
    assert out.read_text() == "mine"
    with pytest.raises(PadsegError, match="exists with other content"):
        write_new({tmp_path / "fresh": b"new", out: b"new"})
    assert not (tmp_path / "fresh").exists()
    with pytest.raises(PadsegError, match="cannot be written"):
        write_new({out / "below": b"new"})


def test_mistakes_are_told_before_the_work(stpm, tmp_path, capsys, monkeypatch):
    out = ["--out", str(tmp_path / "net")]
    assert main(["export", str(tmp_path / "none.ckpt"), "--format", "onnx", *out]) == 2
    assert "none.ckpt does not exist" in capsys.readouterr().err
    assert main(["export", str(stpm), "--format", "safetensors", "--half", *out]) == 2
    assert "--half" in capsys.readouterr().err
    for wrong in (("torch",), ("safetensors",), ("onnx", "--half")):
        assert main(["export", str(stpm), "--format", *wrong, *out, "--int8", str(tmp_path)]) == 2
        assert "--int8 goes with --format onnx or openvino" in capsys.readouterr().err
    assert main(["export", str(stpm), "--format", "onnx", *out, "--int8", str(tmp_path)]) == 2
    assert "holds no image" in capsys.readouterr().err
    assert main(["export", str(stpm), "--format", "onnx", *out, "--nothing"]) == 2
    assert "--nothing" in capsys.readouterr().err
    bin_file = str(tmp_path / "net.bin")
    assert main(["export", str(stpm), "--format", "openvino", "--out", bin_file]) == 2
    assert ".xml" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert main(["export", str(stpm), "--format", "openvino", *out]) == 2
    assert "pip install 'padseg[export]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "damaged"), (b"\x02\0\0\0\0\0\0\0{}", "not written by padseg export")],
)
def test_other_safetensors_are_refused(content, told, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match="does not exist"):
        load_module(path)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        load_module(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    # PFADSeg's gates amplify rounding: a network this small differs from its float64 self by 3e-4.
    ("system", "tolerance"),
    [("rstpm", 1e-4), ("destseg", 1e-4), ("pfadseg", 1e-3)],
)
def test_every_system_agrees_in_both_runtimes(system, tolerance, tmp_path):
    checkpoint = make(system, tmp_path, as_input(pixels(6, SIZE, SIZE)))
    export(checkpoint, "onnx", tmp_path / "net.onnx")
    module = load_module(checkpoint)
    for images in (pixels(1, SIZE, SIZE), pixels(6, SIZE, SIZE), pixels(3, 90, 70)):
        for run in (run_onnx, run_openvino):
            check_same(run(tmp_path / "net.onnx", images), module, as_input(images), tolerance)


@pytest.mark.slow
def test_openvino_files_are_described_and_repeatable(stpm, tmp_path):
    for _ in range(2):  # the same bytes: nothing to refuse
        export(stpm, "openvino", tmp_path / "net.xml", half=True)
    model = openvino.Core().read_model(tmp_path / "net.xml")
    assert json.loads(model.get_rt_info(["padseg"]).value)["weights"] == "float16"
    assert (tmp_path / "net.bin").is_file()
    images = pixels(3, 90, 70)
    check_same(
        run_openvino(tmp_path / "net.xml", images), load_module(stpm), as_input(images), 5e-3
    )


@pytest.mark.slow
def test_a_torch_program_needs_no_padseg(stpm, tmp_path):
    for _ in range(2):
        export(stpm, "torch", tmp_path / "net.pt2")
    images = pixels(3, 90, 70)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys; sys.modules['padseg'] = None\n"
        "import numpy, torch\n"
        "extra = {'padseg.json': ''}\n"
        "network = torch.export.load('net.pt2', extra_files=extra).module()\n"
        "assert 'stpm' in extra['padseg.json']\n"
        "found = network(torch.from_numpy(numpy.load('images.npy')))\n"
        "numpy.savez('found.npz', **{k: v.numpy() for k, v in found.items()})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    check_same(dict(np.load(tmp_path / "found.npz")), load_module(stpm), as_input(images), 1e-5)


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
