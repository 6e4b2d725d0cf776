"""Runs with other teachers than the default ones, and with their real weights."""

import csv

import pytest

from padseg.cli import main
from padseg.inference import load_module
from padseg.models import Teacher
from padseg.modules import read_header


@pytest.mark.slow
def test_rstpm_learns_from_an_efficientnet_and_a_resnet(assets, data_root, tmp_path):
    files = {
        "tf_efficientnet_lite0.in1k": assets / "weights/tf_efficientnet_lite0.in1k.safetensors",
        "resnet18.tv_in1k": assets / "weights/resnet18_tv_in1k_trunk.safetensors",
    }
    (first, weights), (second, weights2) = files.items()
    args = [
        *("run", "rstpm", "--root", str(data_root), "--category", "widget", "--label", "light"),
        *("--model.teacher", first, "--weights", str(weights)),
        *("--model.teacher2", second, "--model.weights2", str(weights2)),
        *("--steps", "2", "--batch-size", "4", "--precision", "32-true"),
        *("--model.image_size", "64", "--data.num_workers=0"),
        *("--trainer.enable_progress_bar", "false", "--out", str(tmp_path)),
    ]
    assert main(args) == 0
    (row,) = csv.DictReader((tmp_path / "results.csv").open())
    assert (row["system"], row["label"]) == ("rstpm", "light")
    assert 0 <= float(row["pixel_ap"]) <= 1
    checkpoint = tmp_path / "light/widget/seed0/distill.ckpt"
    header = read_header(checkpoint)
    assert header.global_step == 2
    assert (header.network.teacher, header.network.teacher2) == (first, second)
    network = load_module(checkpoint).student_teacher
    levels = ((4, 8, 16, 32), (4, 8, 16))
    for teacher, name, strides in zip(
        (network.teacher, network.teacher2), files, levels, strict=True
    ):
        assert teacher.fingerprint() == Teacher(name, str(files[name]), strides).fingerprint()
