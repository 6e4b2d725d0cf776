"""The command line, in processes of their own where start-up matters, otherwise in this one."""

import gc
import importlib
import runpy
import subprocess
import sys

import pytest

from padseg.cli import main


def test_version_and_help_load_no_torch():
    code = (
        "import sys; from padseg.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'lightning', 'numpy'} & set(sys.modules)"
    )
    for option in ("--version", "--help"):
        done = subprocess.run(
            [sys.executable, "-c", code, option], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_the_garbage_collector_rests_during_the_imports(tmp_path, monkeypatch):
    for name in ("padseg.inference.detect", "padseg.data.check"):  # torch is not imported twice
        importlib.import_module(name)
    imported = []
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(importlib, "import_module", lambda n: imported.append((n, gc.isenabled())))
    missing = str(tmp_path / "none")
    assert main(["detect", missing, missing, "--out", str(tmp_path / "out")]) == 2
    assert main(["check", "--root", missing, "--category", "widget"]) == 2
    assert imported == [("padseg.inference", False), ("padseg.data", False)]
    assert gc.isenabled()


@pytest.mark.slow
def test_the_exit_says_nothing(tmp_path):
    """From Python 3.12 on, Triton reports what it has not got back by then."""
    arguments = ["check", "--root", str(tmp_path / "none"), "--category", "widget"]
    done = subprocess.run(
        [sys.executable, "-m", "padseg", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_mistakes_end_with_one_sentence_and_status_2(tmp_path, capsys, monkeypatch):
    arguments = ["run", "destseg", "--category", "widget", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["__main__.py", *arguments, "--root", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("padseg", run_name="__main__")
    assert end.value.code == 2
    assert sys.argv[0] == "padseg"  # which jsonargparse names as the usage
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "none does not exist" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["detect", "", "image.png", "--out", "found"],
        ["detect", "model.ckpt", "image.png", "--out", ""],
        ["export", "model.ckpt", "--format", "onnx", "--out="],
        ["report", ""],
        ["check", "--root", "", "--category", "widget"],
    ],
)
def test_an_empty_path_is_not_the_working_folder(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "it is empty; give a path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "there is not enough memory: lower --batch-size."),
        (
            RuntimeError("CUDA out of memory. Tried"),
            "there is not enough memory: lower --batch-size.",
        ),
        (RuntimeError("another"), None),
    ],
)
def test_memory_that_does_not_suffice_is_told(error, told, monkeypatch, capsys):
    def full(*args, **options):
        raise error

    monkeypatch.setattr("padseg.inference.Predictor.__init__", full)
    arguments = ["detect", "model.ckpt", "image.png", "--out", "found"]
    if told is None:
        with pytest.raises(RuntimeError, match="another"):
            main(arguments)
    else:
        assert main(arguments) == 2
        assert told in capsys.readouterr().err


def test_options_of_fit_may_come_before_positional_arguments(tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "out"), "--trainer.max_time", "00:00:01:00"]
    assert main(["train", *arguments, "--model.lr", "0.1", str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'} is not a folder" in capsys.readouterr().err
    data = ["--root", str(tmp_path / "none"), "--category", "a", "--label", "long"]
    assert main(["run", *data, *arguments, "stpm"]) == 2
    assert "none does not exist" in capsys.readouterr().err
    # Between an option that takes several values and what is not one of them.
    several = ["train", "--out", str(tmp_path / "out"), "--steps", "3", "4", "--model.x=3"]
    assert main([*several, str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'} is not a folder" in capsys.readouterr().err
    assert main(["run", *data, *arguments[:2], "--category", "a", "b", "--model.lr=3", "stpm"]) == 2
    assert "none does not exist" in capsys.readouterr().err
    for following in (arguments[:2], ["--data.seed", "1", *arguments[:2]]):
        assert main(["train", "--model.lr", *following, str(tmp_path / "none")]) == 2
        assert "option --model.lr needs a value" in capsys.readouterr().err
    assert main(["detect", "model.ckpt", "--out", "found", "--", "--a.png"]) == 2
    assert "model.ckpt" in capsys.readouterr().err
