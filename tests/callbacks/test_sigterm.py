"""SIGTERM in a training of several processes."""

import sys
from pathlib import Path

import pytest
from lightning import Trainer

from padseg.callbacks.meeting import LONGEST
from padseg.lightning_cli.recipes import config_path
from padseg.modules import read_checkpoint, read_header
from tiny import run_worker, tiny_arguments


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
@pytest.mark.parametrize(
    ("told", "where", "steps"),
    [
        (0, "training_step", 100_000),
        (1, "training_step", 100_000),
        (0, "score_batch", 8),
        (1, "score_batch", 8),
    ],
)
def test_two_processes_stop_together_when_one_is_told(data_root, tmp_path, told, where, steps):
    arguments = [
        *(told, where, "fit"),
        *("--config", str(config_path("stpm", "distill")), f"--data.root={data_root}"),
        *("--data.category=widget", "--data.batch_size=2", "--data.num_workers=0"),
        *("--model.weights=random", *tiny_arguments(32)),
        *("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"),
        *(
            f"--trainer.max_steps={steps}",
            "--trainer.logger=false",
            f"--checkpoint.dirpath={tmp_path}",
        ),
        *("--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path}"),
    ]
    done = run_worker(Path(__file__).with_name("stopped_worker.py"), *arguments)
    assert done.returncode == 1, done.stderr
    last = tmp_path / "last.ckpt"
    assert f"stopped by SIGTERM; the same command with --ckpt_path {last} goes on" in done.stderr
    # A step is stopped at the next meeting, the calibration at once.
    stopped = range(4, 4 + LONGEST) if where == "training_step" else [steps]
    assert read_checkpoint(last)["global_step"] in stopped
    assert read_header(last).calibration is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
def test_a_process_that_fails_alone_ends_the_others(data_root, tmp_path):
    """Only the first process writes; a limit on the size of files stands for a full disk."""
    worker = "import resource as r, sys; from padseg.cli import main; "
    worker += "r.setrlimit(r.RLIMIT_FSIZE, (20000, 20000)); sys.exit(main(sys.argv[1:]))"
    script = tmp_path / "worker.py"
    script.write_text(worker)
    arguments = [
        *("fit", "--config", str(config_path("stpm", "distill")), f"--data.root={data_root}"),
        *("--data.category=widget", "--data.batch_size=2", "--data.num_workers=0"),
        *("--model.weights=random", *tiny_arguments(32)),
        *("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"),
        *(
            "--trainer.max_steps=3",
            "--trainer.logger=false",
            f"--checkpoint.dirpath={tmp_path}/out",
        ),
        *("--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path}"),
    ]
    done = run_worker(script, *arguments)
    assert done.returncode == 2, done.stderr
    assert "last.ckpt" in done.stderr
    assert "Traceback" not in done.stderr


def test_lightning_still_has_what_stopping_together_replaces():
    trainer = Trainer(accelerator="cpu", barebones=True)
    assert callable(trainer._signal_connector._sigterm_notifier_fn)
    assert callable(trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor)
