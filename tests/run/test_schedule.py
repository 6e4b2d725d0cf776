"""Many runs: shards, processes, Ray."""

import importlib
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from padseg.cli import main
from padseg.errors import ConfigError
from padseg.machine.files import write_json
from padseg.run import table
from padseg.run.experiment import run
from padseg.run.options import RunOptions
from padseg.run.schedule import devices, in_processes, on_ray, parse_shard
from tiny import tiny_arguments

ROOT = Path(__file__).parents[2]
SMALL = {
    **dict(option.removeprefix("--").split("=") for option in tiny_arguments(32, phases=2)),
    "data.num_workers": "0",
    "trainer.accelerator": "cpu",
}


def options(data_root, textures, out, **more) -> RunOptions:
    given = {
        "system": "destseg",
        "root": data_root,
        "categories": ("widget",),
        "out": out,
        "textures": textures,
        "steps": (1, 1),
        "batch_size": 4,
        "weights": "random",
        "label": "small",
        "overrides": SMALL,
    }
    return RunOptions(**(given | more))


@pytest.fixture(scope="module")
def two_categories(data_root, tmp_path_factory) -> Path:
    """The first one is broken, but not at first sight."""
    root = tmp_path_factory.mktemp("two")
    for category in ("broken", "widget"):
        shutil.copytree(data_root / "widget", root / category)
    (root / "broken/train/good/003.png").write_bytes(b"")
    return root


@pytest.fixture
def jobs(monkeypatch) -> ModuleType:
    """The file of jobs, which the processes started here find, too."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{folder}")
    return importlib.import_module("jobs")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/2", "1/2/3", "1.0/2"])
def test_bad_shards_are_refused(text):
    with pytest.raises(ConfigError, match="--shard"):
        parse_shard(text)


def test_shards_cover_every_run_once(data_root, textures, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("padseg.run.experiment.try_run", lambda run: bool(seen.append(run)) or True)
    monkeypatch.setattr("padseg.run.experiment.run_one", seen.append)
    monkeypatch.setattr("padseg.run.experiment.check_options", lambda run: None)
    asked = options(data_root, textures, tmp_path, seeds=tuple(range(7)))
    sizes = [0]
    for index in (1, 2, 3, 4):
        run(asked, parallel=1, shard=(index, 4))
        sizes.append(len(seen))
    assert sorted(map(str, seen)) == [f"widget seed {seed}" for seed in range(7)]
    assert {after - before for before, after in pairwise(sizes)} == {1, 2}


def test_bad_numbers_of_processes_are_refused(data_root, textures, tmp_path):
    with pytest.raises(ConfigError, match="--parallel is 0; it must be at least 1"):
        run(options(data_root, textures, tmp_path), parallel=0)


def test_ray_is_asked_for_where_it_lacks(data_root, textures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"padseg\[ray\]"):
        run(options(data_root, textures, tmp_path), ray="local")


def test_several_devices_are_left_to_fit(data_root, textures, tmp_path):
    overrides = {**SMALL, "trainer.devices": "2"}
    with pytest.raises(ConfigError, match=r"--trainer\.devices: a run uses one device"):
        run(options(data_root, textures, tmp_path, overrides=overrides))


def test_only_devices_that_may_be_used_are_given_out(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert devices() == ["5", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices() == ["0", "1"]


def test_a_run_that_ends_while_the_table_is_written_is_in_it(tmp_path, monkeypatch):
    row = {"label": "a", "system": "stpm", "category": "b", "seed": 0}
    write_json(tmp_path / "a/b/seed0/metrics.json", row)
    write_text = table.write_text

    def meanwhile(path, text):
        write_json(tmp_path / "a/b/seed1/metrics.json", row | {"seed": 1})
        write_text(path, text)

    monkeypatch.setattr(table, "write_text", meanwhile)
    assert list(table.write_table(tmp_path)["seed"]) == [0, 1]
    assert list(pd.read_csv(tmp_path / "results.csv")["seed"]) == [0, 1]


def test_processes_share_the_machine(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("padseg.run.schedule.devices", lambda: ["5", "7"])
    given = [(tmp_path, number) for number in range(4)]
    failed = in_processes(jobs.note, given, parallel=2)
    assert sorted(number for _, number in failed) == [1, 2]
    gpus = [(tmp_path / str(number)).read_text().split()[0] for number in range(4)]
    assert set(gpus) == {"5", "7"}
    assert gpus[0] != gpus[1]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_processes_without_gpus_share_the_cores(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("padseg.run.schedule.devices", list)
    monkeypatch.setattr("padseg.run.schedule.usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    given = [(tmp_path, 0), (tmp_path, 3)]
    for parallel, own, threads in ((2, None, " 3"), (8, None, " 3"), (2, "1", " 1")):
        if own:
            monkeypatch.setenv("OMP_NUM_THREADS", own)
        assert in_processes(jobs.note, given, parallel) == []
        assert {(tmp_path / name).read_text() for name in "03"} == {threads}


@pytest.mark.slow
def test_ray_finds_plugins_of_the_working_folder(jobs, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    (tmp_path / "plugin_of_a_folder.py").write_text("")
    monkeypatch.chdir(tmp_path)
    names = ["plugin_of_a_folder", "plugin_of_no_folder"]
    assert on_ray(jobs.import_plugin, names, "local") == names[1:]


@pytest.mark.slow
@pytest.mark.parametrize("engine", [["--parallel", "1"], ["--parallel", "2"], ["--ray", "local"]])
def test_one_broken_category_does_not_stop_the_others(
    engine, two_categories, textures, tmp_path, capfd, caplog, monkeypatch
):
    if "--ray" in engine:
        pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    arguments = [
        *("run", "destseg", "--root", str(two_categories), "--category", "broken", "widget"),
        *("--textures", str(textures), "--out", "out", "--label", "small", "--weights", "random"),
        *("--steps", "1", "1", "--batch-size", "4", "--seed", "0", "1", *engine),
        *(f"--{key}={value}" for key, value in SMALL.items()),
    ]
    assert main(arguments) == 2
    told = capfd.readouterr().err
    assert "2 of 4 runs failed: broken seed 0, broken seed 1" in told
    assert "003.png is empty" in told + caplog.text
    table = pd.read_csv("out/results.csv")
    assert list(zip(table["category"], table["seed"], strict=True)) == [
        ("widget", 0),
        ("widget", 1),
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_sigterm_reaches_every_process(data_root, textures, tmp_path):
    command = [sys.executable, "-m", "padseg", "run", "destseg", "--root", str(data_root)]
    command += ["--category", "widget", "--seed", "0", "1", "--parallel", "2", "--out"]
    command += [str(tmp_path), "--textures", str(textures), "--batch-size", "4", "--label", "small"]
    command += ["--weights", "random", *(f"--{key}={value}" for key, value in SMALL.items())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    logs = [tmp_path / f"small/widget/seed{seed}/logs/distill/hparams.yaml" for seed in (0, 1)]
    while not all(log.exists() for log in logs):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(3)
    process.terminate()
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "stopped by SIGTERM; the same command resumes" in told
    for seed in (0, 1):
        assert (tmp_path / f"small/widget/seed{seed}/distill-resume.ckpt").exists()
