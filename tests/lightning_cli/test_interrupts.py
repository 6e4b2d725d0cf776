"""What an interrupted command says."""

import re

import pytest

from padseg.cli import main
from padseg.modules import StudentDistillModule

from .conftest import fit_args


@pytest.mark.slow
def test_an_interruption_is_told(data_root, textures, tmp_path, monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("padseg.modules.StudentDistillModule.training_step", interrupted)
    fit = fit_args(data_root, textures, f"--trainer.default_root_dir={tmp_path / 'fit'}")
    assert main(fit) == 130
    assert "padseg: interrupted; start it again." in capsys.readouterr().err
    monkeypatch.undo()
    step = StudentDistillModule.training_step

    def second_interrupted(self, batch, batch_idx):
        if batch_idx:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr("padseg.modules.StudentDistillModule.training_step", second_interrupted)
    assert main([*fit, "--checkpoint.every_n_train_steps=1"]) == 130
    monkeypatch.undo()
    (saved,) = re.findall(r"with --ckpt_path (\S+last\.ckpt) goes on", capsys.readouterr().err)
    more = ["--trainer.max_steps=2", "--ckpt_path", saved]
    assert main([*fit, *more]) == 0


@pytest.mark.parametrize(
    ("command", "place", "said"),
    [
        (["detect", "a.ckpt", "x", "--out", "y"], "inference.detect.detect", "the same command"),
        (["detect", "a.ckpt", "--watch", "x", "--out", "y"], "inference.watch.watch", "the same"),
        (["app", "a.ckpt"], "app.serve", "start it again"),
        (["check", "--root", "x", "--category", "y"], "data.check.check", "start it again"),
        (["calibrate", "a.ckpt", "x"], "inference.calibrate.calibrate", "is unchanged"),
        (["export", "a", "--format", "onnx", "--out", "y"], "export.export", "nothing is written"),
        (["report", "x"], "report.report", "start it again"),
        (["preview", "--root", "x", "--category", "y"], "data.preview.write_preview", "start it"),
        (["demo"], "demo.demo", "the same command resumes"),
        (
            ["run", "stpm", "--root", "x", "--category", "y", "--out", "z"],
            "run.experiment.run",
            "the s",
        ),
    ],
)
def test_every_command_ends_with_a_sentence(command, place, said, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("padseg.inference.Predictor", lambda *args: None)
    monkeypatch.setattr(f"padseg.{place}", interrupted)
    assert main(command) == 130
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("padseg: interrupted; ")
    assert said in line
