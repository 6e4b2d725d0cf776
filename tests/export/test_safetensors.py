"""Weights for exchange, with their card."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from padseg.errors import CheckpointError, ConfigError
from padseg.export import export
from padseg.export.card import model_card
from padseg.export.description import describe, find_run
from padseg.inference import Predictor, load_module
from padseg.modules import SegmentationModule, StudentDistillModule, read_checkpoint, read_header
from padseg.modules.checkpoint import write_checkpoint
from padseg.modules.header import DATA_KEY

from .helpers import SIZE


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
        own = StudentDistillModule.from_pretrained(path)
        assert not own.training
        with pytest.raises(CheckpointError, match=r"use StudentDistillModule\.from_pretrained"):
            SegmentationModule.from_pretrained(path)
        found = Predictor.from_pretrained(path, device="cpu", batch_size=2)
        assert found.calibration == expected.calibration
        assert found.batch_size == 2
    names = sorted(path.name for path in (tmp_path / "hub").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((tmp_path / "hub/config.json").read_text())
    assert config["module"]["hyper_parameters"]["image_size"] == [SIZE, SIZE]


def test_safetensors_know_what_the_network_was_trained_on(stpm, tmp_path):
    content = read_checkpoint(stpm)
    content[DATA_KEY] = {"options": {"category": "widget", "seed": 3}, "images": {"count": 12}}
    write_checkpoint(content, tmp_path / "trained.ckpt")
    for source, out in (("trained.ckpt", "net.safetensors"), ("net.safetensors", "again")):
        export(tmp_path / source, "safetensors", tmp_path / out)
        assert load_module(tmp_path / out).trained_on == content[DATA_KEY]
    assert "\n# STPM for widget\n" in (tmp_path / "again/README.md").read_text()
    with pytest.raises(CheckpointError, match="for an export, the one it was made from"):
        read_header(tmp_path / "net.safetensors")


def test_the_model_card_names_the_tiles_of_the_thresholds(stpm):
    whole = describe(read_header(stpm), None, "float32")
    tiled = replace(whole, calibration=replace(whole.calibration, tile=512))
    card = model_card(tiled, None, None)
    assert 'from_pretrained("this/folder", tile=512)("part.png")' in card
    assert ", in tiles of 512 pixels" in card
    assert "tile" not in model_card(whole, None, None)


def test_the_model_card_tells_what_the_run_measured(stpm, tmp_path):
    run = {
        "label": "stpm",
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
        # Of several runs, whose checkpoints were gathered in one folder.
        header = read_header(stpm)
        run["fingerprint"]["teacher_sha256"] = header.teacher_sha256
        beside.write_text(json.dumps(run))
        for data, found in ((("widget", 3), True), (("bolt", 3), False), (("widget", 4), False)):
            of_data = replace(
                header, data_options=dict(zip(("category", "seed"), data, strict=True))
            )
            assert (find_run(stpm, of_data) is not None) == found
    finally:
        beside.unlink()
    card = (tmp_path / "hub/README.md").read_text()
    for part in ("# STPM for widget", "76.5", "model.lr 0.1", "BMVC 2021"):
        assert part in card
    assert "10 normal images; expect at most 9.09 % of further ones" in card
    assert json.loads((tmp_path / "hub/config.json").read_text())["data_sha256"] == "abc"
    assert "Not known" in (tmp_path / "other/README.md").read_text()


def test_the_card_names_a_licence(stpm, tmp_path):
    export(stpm, "safetensors", tmp_path / "hub")
    export(stpm, "safetensors", tmp_path / "own", license="mit")
    cards = [(tmp_path / name / "README.md").read_text() for name in ("hub", "own")]
    found = [yaml.safe_load(card.split("---")[1])["license"] for card in cards]
    assert found == ["apache-2.0", "mit"]  # timm's for its test networks
    for card in cards:
        assert "teacher test_resnet are under apache-2.0" in card
        assert "excludes commercial use" in card
    for license, format, out, told in (
        ("a: b", "safetensors", "x", "give an identifier"),
        ("mit", "safetensors", "x.safetensors", "goes into the model card"),
        ("mit", "torch", "x.pt2", "goes into the model card"),
    ):
        with pytest.raises(ConfigError, match=told):
            export(stpm, format, tmp_path / out, license=license)


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
