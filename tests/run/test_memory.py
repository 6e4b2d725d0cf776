"""A run of a system whose student is a memory, from training to export."""

import csv
import json

import pytest

from padseg.cli import main
from padseg.modules import read_header

from .conftest import run_args


@pytest.mark.slow
@pytest.mark.parametrize(
    "teacher",
    [
        [],
        ["--model.teacher", "test_vit3", "--model.blocks", "[[1,2],[4]]"],
        [
            *("--model.teacher2", "test_vit3", "--model.weights2", "random"),
            *("--model.blocks", "[[1,2],[4]]"),
        ],
    ],
)
def test_a_memory_runs_like_any_other_system(teacher, data_root, textures, tmp_path, capsys):
    args = run_args(data_root, textures, tmp_path, *teacher, system="tedseg")
    assert main(args) == 0
    (row,) = csv.DictReader((tmp_path / "results.csv").open())
    assert (row["system"], row["label"]) == ("tedseg", "small")
    assert 0 <= float(row["pixel_ap"]) <= 1
    folder = tmp_path / "small/widget/seed0"
    for phase in ("distill", "segment"):
        header = read_header(folder / f"{phase}.ckpt")
        assert header.global_step == 2
        assert header.calibration is not None
        assert header.network.memory_size == 24
        assert header.network.blocks == (((1, 2), (4,)) if teacher else None)
    written = json.loads((folder / "metrics.json").read_text())
    assert written["fingerprint"]["resumed_from_step"] == 0
    assert main(args) == 0
    assert "already finished" in capsys.readouterr().out
    checkpoint, image = str(folder / "segment.ckpt"), str(data_root / "widget/test/spot/000.png")
    assert main(["detect", checkpoint, image, "--out", str(tmp_path / "found")]) == 0
    tiles = ["--tile", "48", "--out", str(tmp_path / "tiles")]
    assert main(["detect", checkpoint, image, *tiles]) == 0
    for name in ("onnx", "torch", "safetensors"):
        out = str(tmp_path / f"net.{name}")
        assert main(["export", checkpoint, "--format", name, "--out", out]) == 0
    assert main(["report", str(tmp_path)]) == 0
