"""A second call skips finished runs, resumes interrupted ones and refuses other options."""

import json
import platform
import shutil
import time

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from padseg.cli import main
from padseg.lightning_cli.recipes import config_path
from tiny import tiny_arguments

from .conftest import run_args


def test_a_finished_run_is_skipped(finished, data_root, textures, capsys, monkeypatch):
    # The table, which takes longer the more runs there are, is written once, at the end.
    monkeypatch.delattr("padseg.run.one.write_table")
    (finished / "results.csv").unlink()
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*.ckpt")}
    # Twice the same is once, and another number of workers gives the same results.
    arguments = run_args(data_root, textures, finished, "--seed", "0", "1", "0")
    assert main([*arguments, "--data.num_workers=1"]) == 0
    assert capsys.readouterr().out.count("is already finished") == 2
    assert (finished / "results.csv").exists()
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*.ckpt")}


def test_another_configuration_is_refused(
    finished, data_root, textures, tmp_path, capsys, monkeypatch
):
    def changed(system, phase):
        (tmp_path / phase).write_text(config_path(system, phase).read_text() + "\n")
        return tmp_path / phase

    monkeypatch.setattr("padseg.run.runs.config_path", changed)
    assert main(run_args(data_root, textures, finished)) == 2
    assert (
        "holds results of other configuration distill (changed since then)"
        in capsys.readouterr().err
    )


def test_other_options_are_refused(finished, data_root, textures, capsys):
    assert main(run_args(data_root, textures, finished, "--model.lr", "0.01")) == 2
    assert "pass another --label or --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"), [([], False), (["--model.lr", "0.01", "--batch-size", "5"], True)]
)
def test_another_seed_with_other_options_is_told_at_the_start(
    finished, data_root, textures, caplog, monkeypatch, more, told
):
    begun = []
    monkeypatch.setattr("padseg.run.experiment.run_one", begun.append)
    arguments = run_args(data_root, textures, finished, "--seed", "2", *more)
    assert main(arguments) == 0
    assert len(begun) == 1
    words = "small/widget/seed0 was run with other batch_size, overrides model.lr, so a mean with"
    assert (words in caplog.text) is told
    assert caplog.text.count("pass another --label") == told


def test_a_run_begins_beside_a_broken_one(data_root, textures, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("padseg.run.experiment.run_one", begun.append)
    other = tmp_path / "small/other/seed0"
    other.mkdir(parents=True)
    for name in ("options.json", "metrics.json"):
        (other / name).write_text("{broken")
    assert main(run_args(data_root, textures, tmp_path)) == 0
    assert len(begun) == 1


@pytest.mark.slow
def test_a_cut_run_is_resumed(finished, data_root, textures, tmp_path):
    """A run cut between the phases ends with the weights of one that was not."""
    arguments = run_args(data_root, textures, tmp_path)
    assert main(arguments) == 0
    folder = tmp_path / "small/widget/seed0"
    for name in ("metrics.json", "segment.json", "segment.ckpt", "segment-trained.json"):
        (folder / name).unlink()
    assert main(arguments) == 0
    fingerprint = json.loads((folder / "metrics.json").read_text())["fingerprint"]
    assert fingerprint["resumed_from_step"] == 2
    logs = {path.name for path in (folder / "logs/segment").glob("*.csv")}
    assert logs == {"metrics-1.csv", "metrics.csv"}, "what was logged before the cut stays"
    ours, whole = (
        torch.load(path / "segment.ckpt", weights_only=True)["state_dict"]
        for path in (folder, finished / "small/widget/seed0")
    )
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_a_run_may_write_its_checkpoints_in_the_background(
    data_root, textures, tmp_path, monkeypatch
):
    """A file that the run reads or removes is there already, also on a slow disk."""
    write = TorchCheckpointIO.save_checkpoint

    def slowly(*args, **options):
        time.sleep(0.5)
        write(*args, **options)

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", slowly)
    arguments = run_args(data_root, textures, tmp_path)
    assert main([*arguments, "--trainer.plugins=AsyncCheckpointIO"]) == 0
    folder = tmp_path / "small/widget/seed0"
    assert {path.name for path in folder.glob("*.ckpt")} == {"distill.ckpt", "segment.ckpt"}


@pytest.mark.slow
def test_a_run_goes_on_in_the_precision_it_began_with(data_root, textures, tmp_path, monkeypatch):
    """As when a machine with bfloat16 began it and one without goes on."""
    folder = tmp_path / "small/widget/seed0"
    began = [
        *("fit", "--config", str(config_path("destseg", "distill")), "--trainer.accelerator=cpu"),
        *(f"--data.root={data_root}", "--data.category=widget", f"--data.textures={textures}"),
        *("--data.batch_size=4", "--data.num_workers=0"),
        *("--model.weights=random", *tiny_arguments()),
        *("--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path / 'logs'}"),
        *("--trainer.max_steps=1", "--trainer.precision=bf16-mixed"),
        *(f"--checkpoint.dirpath={folder}", "--checkpoint.filename=distill-resume"),
        *("--checkpoint.save_top_k=1", "--checkpoint.every_n_train_steps=1"),
    ]
    assert main([*began, "--checkpoint.save_last=false"]) == 0
    monkeypatch.setattr("padseg.lightning_cli.cli.default_precision", lambda *_: "32-true")
    assert main([*run_args(data_root, textures, tmp_path), "--trainer.accelerator=cpu"]) == 0
    found = json.loads((folder / "metrics.json").read_text())["fingerprint"]
    assert found["resumed_from_step"] == 1
    assert found["precision"] == {"distill": "bf16-mixed", "segment": "bf16-mixed"}
    assert found["device"]["distill"] in (platform.processor(), platform.machine())
    # Cut off in its test, it is scored in the precision that it was trained in.
    for name in ("metrics.json", "segment.json"):
        (folder / name).unlink()
    assert main([*run_args(data_root, textures, tmp_path), "--trainer.accelerator=cpu"]) == 0
    again = json.loads((folder / "metrics.json").read_text())["fingerprint"]
    assert again["precision"] == found["precision"]


@pytest.mark.slow
def test_a_call_that_failed_at_once_leaves_the_folder_free(data_root, textures, tmp_path, capsys):
    arguments = run_args(data_root, textures, tmp_path)
    assert main([*arguments, "--trainer.accelerator=tpu"]) != 0
    assert (tmp_path / "small/widget/seed0/options.json").exists()
    assert main(arguments) == 0
    assert main([*arguments, "--model.lr=0.01"]) == 2
    assert "model.lr None (now '0.01')" in capsys.readouterr().err


def test_other_data_is_refused_and_a_moved_one_is_not(
    finished, data_root, textures, tmp_path, capsys
):
    arguments = run_args(data_root, textures, finished)
    moved = tmp_path / "moved"
    shutil.copytree(data_root, moved)
    arguments[3] = str(moved)
    assert main(arguments) == 0
    assert "is already finished" in capsys.readouterr().out
    image = moved / "widget/train/good/000.png"
    for changed in (image, image.with_name("more.png")):
        before = changed.read_bytes() if changed.exists() else None
        changed.write_bytes(image.read_bytes() + b" ")
        assert main(arguments) == 2
        assert "holds results of other images (changed since then)" in capsys.readouterr().err
        if before is not None:
            changed.write_bytes(before)


def test_a_finished_run_keeps_its_options_without_its_checkpoints(
    finished, data_root, textures, tmp_path, capsys
):
    shutil.copytree(finished, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.ckpt"):
        path.unlink()
    arguments = run_args(data_root, textures, tmp_path / "out")
    assert main([*arguments, "--model.lr=0.3"]) == 2
    assert "overrides model.lr None (now '0.3')" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "is already finished" in capsys.readouterr().out


def test_an_interruption_says_how_to_go_on(data_root, textures, tmp_path, monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("padseg.modules.StudentDistillModule.training_step", interrupted)
    assert main(run_args(data_root, textures, tmp_path)) == 130
    assert "interrupted; the same command resumes" in capsys.readouterr().err
