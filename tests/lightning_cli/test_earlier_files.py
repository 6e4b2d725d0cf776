"""Configurations that are used again, and the files of the trainings that wrote them."""

import shutil
import time
from pathlib import Path

import pytest

from padseg.cli import main
from padseg.lightning_cli.earlier_files import keep_log

from .conftest import QUIET, SMALL, data_args


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(data_root, textures, tmp_path_factory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs")
    run = ["run", "stpm", "--root", str(data_root), "--category", "widget", "--label", "small"]
    run += ["--out", str(out), "--weights", "random", "--steps", "2", "--batch-size", "4"]
    run += [option for option in SMALL if "weights" not in option]
    assert main([*run, *QUIET[:1], "--trainer.val_check_interval=1"]) == 0
    return out / "small/widget/seed0"


@pytest.mark.parametrize(
    "command",
    ["fit", "test", *(pytest.param(x, marks=pytest.mark.slow) for x in ("validate", "predict"))],
)
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--trainer.logger.save_dir=elsewhere"],
        ["--trainer.logger=TensorBoardLogger"],
        ["--trainer.logger=false"],
        ["--checkpoint.dirpath=elsewhere"],
    ],
)
def test_the_configuration_of_a_run_never_touches_its_files(
    command, options, finished, tmp_path, capsys
):
    before = contents(finished)
    arguments = [command, "--config", str(finished / "logs/distill/config.yaml"), *QUIET]
    arguments += [] if command == "fit" else [f"--ckpt_path={finished / 'distill.ckpt'}"]
    if options == ["--trainer.logger=TensorBoardLogger"]:
        pinned = finished / "logs"
        options = [*options, f"--trainer.logger.save_dir={pinned.parent}"]
        options += ["--trainer.logger.name=logs", "--trainer.logger.version=distill"]
    status = main([*arguments, *options])
    assert contents(finished) == before
    told = capsys.readouterr().err
    if status == 2:
        assert "holds the files of another training, which would be replaced: pass another" in told
    elsewhere = command != "fit" and options[:1] != [] and "checkpoint" not in options[0]
    assert status == (0 if elsewhere and "TensorBoard" not in options[0] else 2)


def test_the_configuration_of_a_run_can_be_used_elsewhere(finished, tmp_path):
    before = contents(finished)
    arguments = ["fit", "--config", str(finished / "logs/distill/config.yaml"), *QUIET]
    arguments += [f"--trainer.logger.save_dir={tmp_path}", f"--checkpoint.dirpath={tmp_path}/saved"]
    assert main(arguments) == 0
    assert contents(finished) == before
    assert (tmp_path / "logs/distill/metrics.csv").is_file()
    assert main(arguments) == 2  # nor is this training replaced


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["CSVLogger", "TensorBoardLogger"])
def test_a_training_that_goes_on_keeps_its_log(logger, data_root, textures, tmp_path, capsys):
    arguments = ["fit", "--config", "configs/stpm/distill.yaml", *SMALL, *QUIET]
    arguments += [*data_args(data_root, textures)[:2], *data_args(data_root, textures)[3:]]
    arguments += [f"--trainer.logger={logger}", f"--trainer.logger.save_dir={tmp_path}"]
    arguments += ["--trainer.logger.version=mine", "--trainer.log_every_n_steps=1"]
    assert main([*arguments, "--trainer.max_steps=2"]) == 0
    folder = tmp_path / "lightning_logs/mine"
    before = contents(folder)
    assert main([*arguments, "--trainer.max_steps=2"]) == 2
    assert "pass another --trainer.logger.save_dir or --trainer.logger" in capsys.readouterr().err
    assert contents(folder) == before
    (last,) = folder.rglob("last.ckpt")
    time.sleep(1)  # the second is the name of an event file
    assert main([*arguments, "--trainer.max_steps=4", f"--ckpt_path={last}"]) == 0
    logs = {path: text for path, text in before.items() if path.name.startswith(("metrics", "ev"))}
    kept = contents(folder)
    for path, text in logs.items():
        assert text in kept.values(), path
    shutil.copy(last, tmp_path / "copy.ckpt")
    assert main([*arguments, "--trainer.max_steps=6", f"--ckpt_path={tmp_path}/copy.ckpt"]) == 2


def test_a_kept_log_replaces_none_of_the_others(tmp_path):
    log = tmp_path / "metrics.csv"
    for number in range(1, 5):
        if number == 4:
            (tmp_path / "metrics-1.csv").unlink()
        log.write_text(str(number))
        keep_log(log)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {f"metrics-{number}.csv": str(number) for number in (2, 3, 4)}
