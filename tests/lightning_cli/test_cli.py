"""`fit`, `validate` and `test` with what padseg adds to Lightning's CLI."""

import inspect
import shutil
import subprocess
import sys

import pytest
from jsonargparse import dict_to_namespace
from lightning import Trainer
from lightning.pytorch.callbacks import Timer

from padseg.cli import main
from padseg.errors import ConfigError
from padseg.inference import Predictor
from padseg.lightning_cli.cli import PadsegCLI
from padseg.lightning_cli.recipes import config_path
from padseg.modules import read_checkpoint
from tiny import tiny_network

from .conftest import QUIET, SMALL, data_args, fit_args


@pytest.mark.slow
def test_a_training_replaces_none_that_is_there(trained, data_root, textures, tmp_path, capsys):
    shutil.copytree(trained / "distill", tmp_path / "distill")
    before = (tmp_path / "distill/last.ckpt").read_bytes()
    own = tmp_path / "config.yaml"
    own.write_text("mine")
    arguments = [*data_args(data_root, textures), *QUIET, "--trainer.logger=false"]
    arguments += [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=3"]
    arguments += [f"--checkpoint.dirpath={tmp_path}/distill"]
    fit = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL]
    assert main([*fit, *arguments]) == 2
    told = capsys.readouterr().err
    assert "last.ckpt is another training's: pass --ckpt_path last" in told
    assert (tmp_path / "distill/last.ckpt").read_bytes() == before
    # Nor does it go on with another recipe than it began with.
    assert main(["fit", *arguments, "--ckpt_path", str(tmp_path / "distill/last.ckpt")]) == 2
    assert "--config is not set" in capsys.readouterr().err
    # Nor does one that goes on from elsewhere replace it.
    arguments += ["--trainer.max_steps=4"]
    assert main([*fit, *arguments, "--ckpt_path", str(trained / "distill/last.ckpt")]) == 2
    assert "last.ckpt is another training's" in capsys.readouterr().err
    assert (tmp_path / "distill/last.ckpt").read_bytes() == before
    arguments += ["--trainer.max_steps=3"]
    assert main([*fit, *arguments, "--ckpt_path=last"]) == 0
    assert read_checkpoint(tmp_path / "distill/last.ckpt")["global_step"] == 3
    # What Lightning saves elsewhere when SLURM preempts a job is the training's own.
    shutil.copy(tmp_path / "distill/last.ckpt", tmp_path / "hpc_ckpt_1.ckpt")
    arguments += ["--trainer.max_steps=4"]
    assert main([*fit, *arguments, "--ckpt_path=hpc"]) == 0
    assert read_checkpoint(tmp_path / "distill/last.ckpt")["global_step"] == 4
    assert own.read_text() == "mine"


def test_fit_of_stpm_leaves_the_best_step_calibrated(data_root, tmp_path):
    """Beside the last one, with thresholds of its own; `test` takes it."""
    arguments = ["fit", "--config", str(config_path("stpm", "distill")), *SMALL[:-1], *QUIET]
    arguments += [f"--data.root={data_root}", "--data.category=widget", "--data.batch_size=4"]
    # Without a rate only the BatchNorm statistics move, and the last step is not the best.
    arguments += ["--data.num_workers=0", "--model.lr=0", "--trainer.max_steps=8"]
    arguments += ["--trainer.val_check_interval=1", f"--trainer.default_root_dir={tmp_path}"]
    arguments += ["--trainer.precision=32-true"]
    assert main([*arguments, f"--checkpoint.dirpath={tmp_path}/out", "--trainer.logger=false"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"best.ckpt", "last.ckpt"}
    best, last = (read_checkpoint(tmp_path / f"out/{name}.ckpt") for name in ("best", "last"))
    assert best["global_step"] < last["global_step"] == 8
    thresholds = [saved["padseg"]["calibration"]["image_threshold"] for saved in (best, last)]
    assert thresholds[0] != thresholds[1]
    score = Predictor(tmp_path / "out/best.ckpt", device="cpu", precision="32-true")
    paths = sorted((data_root / "widget/train/good").iterdir())
    nearest = min(abs(found.image_score / thresholds[0] - 1) for found in score(paths))
    assert nearest < 1e-4  # it is the score of one of them
    # Nor does a validation need textures.
    again = ["validate", "--ckpt_path", str(tmp_path / "out/best.ckpt"), *QUIET]
    again += [f"--data.root={data_root}", "--data.category=widget", "--data.val_fraction=0.2"]
    assert main([*again, "--data.num_workers=0", "--trainer.logger=false"]) == 0


def test_nothing_to_validate_on_is_told(trained, data_root, textures, capsys):
    arguments = ["validate", "--ckpt_path", str(trained / "distill/last.ckpt"), *QUIET]
    arguments += [
        *data_args(data_root, textures),
        "--trainer.logger=false",
        "--data.val_fraction=0",
    ]
    assert main(arguments) == 2
    assert "--data.val_fraction is 0, so no image is held out" in capsys.readouterr().err


def test_processes_that_would_train_alone_are_told(
    data_root, textures, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = fit_args(data_root, textures, f"--trainer.default_root_dir={tmp_path}")
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "torchrun has started 2 processes" in told
    assert "--trainer.devices 2 --trainer.strategy ddp" in told
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.setenv(name, "4")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert main(arguments) == 2
    assert (
        "srun has started 4 processes, each of which would train alone" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_two_processes_test_like_one(trained, data_root, textures, tmp_path, monkeypatch):
    # The metrics add nothing, but convolutions round by the size of the batch and the threads.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    figures = []
    for devices in (1, 2):
        arguments = ["test", "--ckpt_path", str(trained / "segment/last.ckpt"), *QUIET]
        arguments += [*data_args(data_root, textures), "--data.batch_size=1"]
        arguments += [f"--trainer.devices={devices}"]
        arguments += ["--trainer.strategy=ddp", "--trainer.logger=CSVLogger"]
        arguments += [f"--trainer.logger.save_dir={tmp_path}/{devices}"]
        done = subprocess.run(
            [sys.executable, "-m", "padseg", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / str(devices)).rglob("metrics.csv")
        figures.append(path.read_text())
    assert figures[0] == figures[1]
    assert "iap90" in figures[0]


@pytest.mark.parametrize(
    ("options", "terminal", "bar"),
    [
        ([], True, "StepBar"),
        ([], False, "StepLines"),
        (["--trainer.callbacks=TQDMProgressBar"], True, "TQDMProgressBar"),
        (["--trainer.callbacks=DeviceStatsMonitor"], True, "StepBar"),
        (["--trainer.enable_progress_bar=false"], True, "NoneType"),
    ],
)
def test_the_bar_counts_steps_unless_another_is_configured(
    options, terminal, bar, data_root, textures, monkeypatch
):
    monkeypatch.setattr("padseg.lightning_cli.cli.shows_bars", lambda: terminal)
    args = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL]
    args += [*data_args(data_root, textures), "--trainer.accelerator=cpu", *options]
    more = Timer()
    trainer = PadsegCLI(args[1:], run=False, callbacks=[more]).trainer
    assert type(trainer.progress_bar_callback).__name__ == bar
    assert more in trainer.callbacks


def test_processes_whose_results_stay_with_them_are_refused(data_root, textures, capsys):
    spawned = ["--trainer.devices=2", "--trainer.strategy=ddp_spawn"]
    assert main(fit_args(data_root, textures, *spawned)) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "train in copies of the process" in told


@pytest.mark.parametrize(
    ("plugin", "writer"),
    [("LightningEnvironment", "AtomicCheckpointIO"), ("AsyncCheckpointIO", "AsyncCheckpointIO")],
)
def test_checkpoints_are_written_whole_unless_another_way_is_configured(
    plugin, writer, data_root, textures
):
    args = fit_args(data_root, textures, f"--trainer.plugins={plugin}")
    trainer = PadsegCLI(args[1:], run=False).trainer
    assert type(trainer.strategy.checkpoint_io).__name__ == writer


def test_1_is_one_batch(data_root, textures, monkeypatch):
    names = [f"limit_{name}_batches" for name in ("train", "val", "test", "predict")]
    for name in names:  # as Python has it after some imports, see `typing.Union`
        monkeypatch.setitem(
            inspect.unwrap(Trainer.__init__).__annotations__, name, float | int | None
        )
    args = fit_args(data_root, textures, *(f"--trainer.{name}=1" for name in names))
    trainer = PadsegCLI(args[1:], run=False).trainer
    assert [type(getattr(trainer, name)) for name in names] == 4 * [int]


@pytest.mark.parametrize("kind", [dict, dict_to_namespace])
def test_options_may_come_as_a_dict(kind, data_root, textures):
    model = {
        "class_path": "padseg.modules.StudentDistillModule",
        "init_args": {"system": "stpm", "image_size": 32, **tiny_network()},
    }
    data = {"root": str(data_root), "category": "widget", "textures": str(textures)}
    options = {"model": model, "data": data, "trainer": {"accelerator": "cpu", "max_steps": 3}}
    cli = PadsegCLI(kind(options), run=False)
    assert (cli.model.system, cli.datamodule.image_size) == ("stpm", (32, 32))
    assert cli.trainer.max_steps == 3
    with pytest.raises(ConfigError, match="--ckpt_path is not set: padseg test needs"):
        PadsegCLI(kind({"subcommand": "test", "test": options}))
    with pytest.raises(ConfigError, match="max_steps: expected int, not many"):
        PadsegCLI(kind({**options, "trainer": {"max_steps": "many"}}), run=False)


def test_a_configuration_selects_mixed_defects(data_root, textures, tmp_path):
    own = tmp_path / "mixed.yaml"
    own.write_text(
        "data: {synthesis: {backend: mixed, probability: 0.9, mixture: {shapes: {line: 1, spot: 2}}}}"
    )
    options = [f"--config={own}", "--trainer.max_steps=1"]
    options += [f"--checkpoint.dirpath={tmp_path / 'ckpt'}"]
    options += ["--data.synthesis.mixture.soft_edges=0.25"]
    assert main(fit_args(data_root, textures, *options)) == 0
    checkpoint = read_checkpoint(tmp_path / "ckpt/last.ckpt")
    stored = checkpoint["AnomalyDataModule"]["options"]["synthesis"]
    assert (stored["backend"], stored["probability"]) == ("mixed", 0.9)
    assert stored["mixture"]["shapes"] == {"line": 1, "spot": 2}
    assert stored["mixture"]["soft_edges"] == 0.25
    assert set(stored["mixture"]["fills"]) == {"texture", "self", "tone", "flat"}
