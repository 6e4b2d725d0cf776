"""What runs leave behind, and what makes one or all of them fail."""

import errno
import gc
import json
import re
import shutil
from types import SimpleNamespace

import filelock
import pandas as pd
import pytest

from padseg.cli import main
from padseg.data.cache import ImageCache
from padseg.errors import PadsegError
from padseg.lightning_cli.cli import PadsegCLI
from padseg.machine.console import is_quiet
from padseg.modules import read_checkpoint
from padseg.run.one import run_one
from padseg.run.results import read_result

from .conftest import run_args


def test_run_leaves_what_the_contract_names(finished):
    for seed in (0, 1):
        folder = finished / "small/widget" / f"seed{seed}"
        names = {path.name for path in folder.iterdir()}
        assert {"distill.ckpt", "segment.ckpt", "metrics.json"} <= names
        assert {"images.csv", "curves.json", "maps", "thumbs", "masks"} <= names
        assert not [name for name in names if "resume" in name]
        calibration = json.loads((folder / "metrics.json").read_text())["calibration"]
        assert calibration["normal_images"] == 1
        assert calibration == read_checkpoint(folder / "segment.ckpt")["padseg"]["calibration"]
        assert read_checkpoint(folder / "distill.ckpt")["padseg"]["calibration"] is not None
    table = pd.read_csv(finished / "results.csv")
    assert list(table["seed"]) == [0, 1]
    assert list(table["label"]) == ["small", "small"]
    assert table["images_per_second"].gt(0).all()
    assert table[["image_auroc", "pixel_ap", "pro", "iap90"]].notna().all(axis=None)


def test_a_system_of_one_phase_runs(data_root, tmp_path):
    arguments = run_args(data_root, "unused", tmp_path, system="stpm")
    assert main(arguments) == 0
    folder = tmp_path / "small/widget/seed0"
    assert (folder / "distill.ckpt").is_file()
    assert not (folder / "segment.ckpt").exists()
    assert len(pd.read_csv(tmp_path / "results.csv")) == 1


@pytest.mark.slow
def test_the_speed_is_that_of_the_images_that_were_tested(data_root, tmp_path, monkeypatch):
    times = SimpleNamespace(perf_counter=iter([0.0, 2.0]).__next__)
    monkeypatch.setattr("padseg.run.phase.time", times)
    arguments = run_args(data_root, "unused", tmp_path, system="stpm")
    assert main([*arguments, "--trainer.limit_test_batches=0.5"]) == 0
    assert pd.read_csv(tmp_path / "results.csv")["images_per_second"].tolist() == [2.0]  # 4 of 7
    (warning,) = read_result(tmp_path / "small/widget/seed0/metrics.json").evaluation.warnings
    assert warning.startswith("only a part of the test images was evaluated")


@pytest.mark.slow
def test_stpm_keeps_the_step_that_normal_images_choose(data_root, tmp_path):
    arguments = run_args(data_root, "unused", tmp_path, system="stpm")
    # Without a rate only the BatchNorm statistics move, and the last step is not the best.
    changes = {"steps": "8", "model.lr": "0", "trainer.val_check_interval": "1"}
    for key, value in changes.items():
        arguments = [word for word in arguments if not word.startswith(f"--{key}=")]
        arguments.append(f"--{key}={value}")
    assert main(arguments) == 0
    folder = tmp_path / "small/widget/seed0"
    levels = pd.read_csv(folder / "logs/distill/metrics.csv").dropna(subset="val_score_map")
    assert len(levels) == 8
    best = int(levels.set_index("step")["val_score_map"].idxmin()) + 1
    assert best < 8
    assert read_checkpoint(folder / "distill.ckpt")["global_step"] == best
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["distill"]["steps"] == best
    assert metrics["calibration"]["synthetic_defects"] == 0
    assert not list(folder.rglob("best.ckpt"))


@pytest.mark.parametrize(("label", "status"), [("other", 0), ("small", 2)])
def test_a_broken_result_is_named(
    label, status, finished, data_root, textures, tmp_path, capsys, caplog
):
    """And keeps no other run from its table."""
    shutil.copytree(finished, tmp_path / "out")
    broken = tmp_path / f"out/{label}/widget/seed0/metrics.json"
    for content in ("", '{"loss": 1}'):
        broken.parent.mkdir(parents=True, exist_ok=True)
        broken.write_text(content)
        assert main(run_args(data_root, textures, tmp_path / "out")) == status
        assert f"{broken} is broken" in capsys.readouterr().err + caplog.text
        if not status:
            assert set(pd.read_csv(tmp_path / "out/results.csv")["label"]) == {"small"}


def test_a_locked_run_is_left_alone(data_root, textures, tmp_path, capsys):
    folder = tmp_path / "small/widget/seed0"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"):
        assert main(run_args(data_root, textures, tmp_path)) == 2
    assert "in use by another process" in capsys.readouterr().err


def test_what_cannot_be_read_or_written_is_named(
    data_root, textures, tmp_path, capsys, monkeypatch
):
    (tmp_path / "afile").touch()
    assert main(run_args(data_root, textures, tmp_path / "afile", "--seed", "0", "1")) == 2
    assert f"{tmp_path / 'afile'} cannot be written" in capsys.readouterr().err

    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("padseg.run.runs.hash_file", forbidden)
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    assert main([*run_args(data_root, textures, tmp_path), "--weights", str(weights)]) == 2
    assert f"{weights} cannot be opened (Permission denied)" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_leave_no_images_in_memory(data_root, tmp_path, monkeypatch):
    arguments = run_args(data_root, "unused", tmp_path, system="stpm")
    left = []

    class Counted(PadsegCLI):
        def __init__(self, *args, **kwargs):
            left.append(sum(isinstance(one, ImageCache) for one in gc.get_objects()))
            super().__init__(*args, **kwargs)

    monkeypatch.setattr("padseg.run.phase.PadsegCLI", Counted)
    gc.collect()
    gc.disable()  # what is left then is left for good
    try:
        assert main([*arguments, "--seed", "0", "1", "2"]) == 0
    finally:
        gc.enable()
    assert left[1:] == [left[0]] * 2


def test_each_task_of_srun_may_have_a_shard(data_root, textures, tmp_path, capsys, monkeypatch):
    """`fit` refuses to start as several tasks that know nothing of each other."""
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(name, "4")

    def training(*_):
        raise PadsegError("training has begun")

    monkeypatch.setattr("padseg.run.phase._train", training)
    assert main(run_args(data_root, textures, tmp_path)) == 2
    assert "training has begun" in capsys.readouterr().err


@pytest.mark.slow
def test_a_time_limit_ends_the_training(data_root, tmp_path):
    """Lightning ignores the option beside a Timer that it was given."""
    arguments = run_args(data_root, "unused", tmp_path, system="stpm")
    at = arguments.index("--steps")
    arguments[at + 1 : at + 3] = ["100000"]
    assert main([*arguments, "--trainer.max_time=00:00:00:01"]) == 0
    metrics = json.loads((tmp_path / "small/widget/seed0/metrics.json").read_text())
    assert metrics["distill"]["steps"] < 100000
    assert 1 / 60 <= metrics["train_minutes"] < 1


def test_without_test_images_a_run_trains_and_calibrates(data_root, tmp_path, capsys):
    root, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data_root / "widget/train/good", root / "widget")  # nothing but images
    arguments = [*run_args(root, "unused", out, system="stpm"), "--layout", "folder"]
    assert main(arguments) == 0
    assert "widget, seed 0: trained, not tested: no test images" in capsys.readouterr().out
    folder = out / "small/widget/seed0"
    assert read_checkpoint(folder / "distill.ckpt")["padseg"]["calibration"] is not None
    (row,) = pd.read_csv(out / "results.csv").to_dict("records")
    assert row["train_minutes"] > 0
    assert pd.isna(row["image_auroc"])
    assert main(arguments) == 0
    assert "already finished" in capsys.readouterr().out
    assert main(["report", str(out)]) == 0
    assert "no images.csv" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_finished_run_is_told_and_in_the_table_at_once(data_root, tmp_path, monkeypatch, capsys):
    rows = []

    def first_only(one):
        if rows:
            raise KeyboardInterrupt
        run_one(one)
        rows.extend(pd.read_csv(tmp_path / "out [1]/results.csv")["seed"])

    monkeypatch.setattr("padseg.run.experiment.run_one", first_only)
    arguments = run_args(
        data_root, "unused", tmp_path / "out [1]", "--seed", "4", "5", system="stpm"
    )
    assert main(arguments) == 130
    assert rows == [4]
    told = capsys.readouterr().out
    assert "widget, seed 4, distill (run 1 of 2): in " in told
    assert re.search(
        r"widget, seed 4 \(run 1 of 2\): Image AUROC [\d.]+, .*PRO [\d.]+; \d+ s of", told
    )
    assert "FLOPs" not in told
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", told)
    monkeypatch.undo()
    assert main(arguments) == 0
    told = capsys.readouterr().out
    model = tmp_path / "out [1]/small/widget/seed4/distill.ckpt"
    assert model.is_file()
    assert f"Next: padseg report '{tmp_path}/out [1]'" in told
    assert f"padseg detect '{model}' IMAGES --out found" in told


def test_a_quiet_run_says_nothing(data_root, tmp_path, capsys):
    assert main([*run_args(data_root, "unused", tmp_path, system="stpm"), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert not is_quiet(), "what a notebook does next is not quiet"
