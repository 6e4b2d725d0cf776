"""The command: what it refuses, warns of and keeps."""

import shutil
import sys

import pytest

from padseg.cli import main
from padseg.errors import PadsegError
from padseg.export import export
from padseg.export.convert import write_new
from padseg.export.formats import FORMATS, Format
from padseg.export.network import Deployed
from padseg.inference import load_module
from padseg.names import EXPORT_FORMATS


def test_thresholds_of_other_scores_are_told(stpm, data_root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("padseg.export.torch_export.to_torch", lambda *_: b"a program")
    good = str(data_root / "widget/train/good")
    for options, told in (
        (("--precision", "bf16-mixed"), "set in bf16-mixed, but the exported network computes"),
        (
            ("--tile", "40", "--precision", "32-true"),
            "set with --tile 40, but the exported network takes",
        ),
    ):
        ours = tmp_path / f"{options[1]}.ckpt"
        shutil.copy(stpm, ours)
        assert main(["calibrate", str(ours), good, "--device", "cpu", *options]) == 0
        calibration = Deployed(load_module(ours)).calibration
        assert (calibration is None) == ("--tile" in options)
        out = tmp_path / f"{options[1]}.pt2"
        assert main(["export", str(ours), "--format", "torch", "--out", str(out)]) == 0
        assert told in caplog.text
        caplog.clear()
    assert main(["export", str(ours), "--format", "torch", "--out", str(tmp_path / "net.pt")]) == 0
    assert (
        "does not end in .pt2, so PyTorch warns whenever it is loaded: name it net.pt2."
        in caplog.text
    )


def test_files_of_other_content_are_kept(stpm, tmp_path, capsys, monkeypatch):
    def refuse(*args):
        raise AssertionError("before the long conversion")

    monkeypatch.setattr("padseg.export.source.build_module", refuse)
    for name in ("safetensors", "onnx", "openvino", "torch"):
        out = tmp_path / f"net{FORMATS[name].suffix}"
        out.write_text("mine")
        assert main(["export", str(stpm), "--format", name, "--out", str(out)]) == 2
        assert f"{out} exists with other content" in capsys.readouterr().err
        assert out.read_text() == "mine"
    assert main(["export", str(stpm), "--format", "safetensors", "--out", str(stpm)]) == 2
    assert f"--out {stpm} is a file: safetensors is a folder" in capsys.readouterr().err
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
        assert "--int8 needs --format onnx or openvino" in capsys.readouterr().err
    assert main(["export", str(stpm), "--format", "onnx", *out, "--int8", str(tmp_path)]) == 2
    assert "holds no image" in capsys.readouterr().err
    assert main(["export", str(stpm), "--format", "onnx", *out, "--nothing"]) == 2
    assert "--nothing" in capsys.readouterr().err
    for kind in ("onnx", "torch", "openvino"):
        assert main(["export", str(stpm), "--format", kind, "--out", str(tmp_path)]) == 2
        assert f"{tmp_path} is a folder: {kind} is a file" in capsys.readouterr().err
    other = str(tmp_path / "net.xml")
    assert main(["export", str(stpm), "--format", "onnx", "--out", other]) == 2
    assert "ends like a file of --format openvino, not onnx" in capsys.readouterr().err
    monkeypatch.setitem(FORMATS, "other", Format(FORMATS["onnx"].make_files, suffix=".onnx"))
    assert main(["export", "none.ckpt", "--format", "onnx", "--out", "net.onnx"]) == 2
    assert "none.ckpt does not exist" in capsys.readouterr().err
    below = str(stpm / "net.onnx")
    assert main(["export", str(stpm), "--format", "onnx", "--out", below]) == 2
    assert f"--out {below} cannot be written: {stpm} is a file" in capsys.readouterr().err
    root = ["--out", "/", "--license", "two words"]
    assert main(["export", str(stpm), "--format", "safetensors", *root]) == 2
    assert "--license is 'two words'" in capsys.readouterr().err
    bin_file = str(tmp_path / "net.bin")
    assert main(["export", str(stpm), "--format", "openvino", "--out", bin_file]) == 2
    assert ".xml" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert main(["export", str(stpm), "--format", "openvino", *out]) == 2
    assert "pip install 'padseg[export]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_format_of_the_command_line_is_in_the_table():
    assert tuple(FORMATS) == EXPORT_FORMATS


def test_a_new_format_is_one_entry_of_the_table(stpm, tmp_path, monkeypatch):
    def make_files(source, out):
        return {out: " ".join(source.network().module.state_dict()).encode()}

    monkeypatch.setitem(FORMATS, "names", Format(make_files, ("numpy",), half=False))
    export(stpm, "names", tmp_path / "names.txt")
    assert "student_teacher" in (tmp_path / "names.txt").read_text()
    with pytest.raises(PadsegError, match="--half cannot be combined with --format names"):
        export(stpm, "names", tmp_path / "other.txt", half=True)
    with pytest.raises(PadsegError, match="--int8 needs --format onnx or openvino"):
        export(stpm, "names", tmp_path / "other.txt", int8=[tmp_path])
