"""A run that was killed and resumed ends like one that was not.

Bit for bit on one machine with one number of threads, one instruction set and the same versions.
"""

import errno
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from padseg.cli import main
from padseg.errors import CheckpointError
from padseg.lightning_cli.recipes import config_path
from padseg.modules import read_checkpoint
from padseg.modules.checkpoint import AtomicCheckpointIO
from tiny import tiny_arguments

ROOT = Path(__file__).parents[2]
INTERVAL = 2
_KILL = getattr(signal, "SIGKILL", None)  # Windows has none
needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc")


class Zygote:
    """Starts commands, tells how far they are, and kills them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(ROOT / "tests/zygote.py"), str(folder)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, arguments: list[str]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def status(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def finish(self, arguments: list[str]) -> None:
        self.start(arguments)
        assert self.status() == 0, self.log()

    def count(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop_at(self, arguments, name: str, count: int, number=_KILL, wait=0.0) -> int:
        """Send a signal when `name` was counted `count` times more; the exit status."""
        goal = self.count(name) + count
        pid = self.start(arguments)
        while self.count(name) < goal and Path(f"/proc/{pid}/exe").exists():
            time.sleep(0.002)
        time.sleep(wait)
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, number)
        return self.status()


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    assert zygote.process.stdin is not None
    zygote.process.stdin.close()
    zygote.process.wait(timeout=60)


def run_args(data: tuple[Path, Path], out: Path, system: str, steps: int, *more: str) -> list[str]:
    return [
        *("run", system, "--root", str(data[0]), "--category", "widget", "--out", str(out)),
        *("--textures", str(data[1]), "--batch-size", "4", "--weights", "random"),
        *("--steps", str(steps), str(steps), "--precision", "32-true", "--label", "small"),
        *(*tiny_arguments(32), "--model.lr=0.05"),
        *("--data.num_workers=0", "--trainer.enable_progress_bar=false"),
        *("--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"),
        *(f"--checkpoint.every_n_train_steps={INTERVAL}", "--trainer.val_check_interval=3", *more),
    ]


@pytest.fixture(scope="module")
def data(data_root, textures) -> tuple[Path, Path]:
    return data_root, textures


def weights(folder: Path, phase: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(folder / f"{phase}.ckpt")["state_dict"]
    return state


def assert_same_run(killed: Path, whole: Path, phases: list[str]) -> None:
    for phase in phases:
        ours, expected = weights(killed, phase), weights(whole, phase)
        assert all(torch.equal(ours[name], expected[name]) for name in expected), phase
        steps = [
            read_checkpoint(folder / f"{phase}.ckpt")["global_step"] for folder in (killed, whole)
        ]
        assert steps[0] == steps[1]
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (killed, whole)]
    for name in ("image_auroc", "pixel_ap", "pro", "iap90"):
        assert metrics[0][name] == metrics[1][name]


def saved_steps(folder: Path, phases: list[str]) -> int:
    """Steps that need not be trained again."""
    steps = 0
    for phase in phases:
        for name in (f"{phase}.ckpt", f"{phase}-resume.ckpt"):
            if (folder / name).exists():
                steps += read_checkpoint(folder / name)["global_step"]
                break
    return steps


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.ckpt*"))


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_change_nothing(zygote, data, tmp_path):
    choice, kills, seed, phases = random.Random(0), 0, 0, ["distill", "segment"]
    while kills < 20:
        more = ("--model.segmentation_width=16", "--seed", str(seed))
        zygote.finish(run_args(data, tmp_path / "whole", "destseg", 20, *more))
        arguments = run_args(data, tmp_path / "killed", "destseg", 20, *more)
        folder = tmp_path / f"killed/small/widget/seed{seed}"
        before, kills_before, saved = zygote.count("steps"), kills, 0
        while True:
            status = zygote.stop_at(
                arguments, "steps", choice.randint(2, 7), wait=choice.uniform(0, 0.15)
            )
            assert status in (0, -signal.SIGKILL), zygote.log()
            assert len(checkpoints(folder)) <= 3, checkpoints(folder)
            if status == 0:
                break
            kills += 1
            saved = saved_steps(folder, phases)
        assert_same_run(folder, tmp_path / f"whole/small/widget/seed{seed}", phases)
        fingerprint = json.loads((folder / "metrics.json").read_text())["fingerprint"]
        assert fingerprint["resumed_from_step"] == saved > 0
        lost = zygote.count("steps") - before - 2 * 20
        # One interval and the step after it, which a validation may add to it.
        assert lost <= (kills - kills_before) * (INTERVAL + 1)
        assert checkpoints(folder) == ["distill.ckpt", "segment.ckpt"]
        seed += 1


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_while_writing_and_testing_change_nothing(zygote, data, tmp_path):
    more = ("--model.segmentation_width=16",)
    zygote.finish(run_args(data, tmp_path / "whole", "destseg", 6, *more))
    arguments = run_args(data, tmp_path / "killed", "destseg", 6, *more)
    folder = tmp_path / "killed/small/widget/seed0"
    for phase in ("distill", "segment"):
        assert zygote.stop_at(arguments, "steps", 4) == -signal.SIGKILL
        # In the next save, half of a checkpoint is on the disk.
        (zygote.folder / "die").touch()
        saved = saved_steps(folder, [phase])
        assert saved >= INTERVAL
        zygote.start(arguments)
        assert zygote.status() == -signal.SIGKILL
        assert saved_steps(folder, [phase]) == saved
        assert len(list(folder.glob(".*.part"))) == 1
        # In the test of the phase, which comes after its last step.
        assert zygote.stop_at(arguments, "tested", 1) == -signal.SIGKILL
        assert (folder / f"{phase}.ckpt").exists()
        assert not (folder / f"{phase}.json").exists()
    zygote.finish(arguments)
    assert_same_run(folder, tmp_path / "whole/small/widget/seed0", ["distill", "segment"])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["fingerprint"]["resumed_from_step"] == 12
    assert checkpoints(folder) == ["distill.ckpt", "segment.ckpt"]


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_best_step_is_the_same_after_kills(zygote, data, tmp_path):
    zygote.finish(run_args(data, tmp_path / "whole", "stpm", 14))
    arguments = run_args(data, tmp_path / "killed", "stpm", 14)
    folder, choice, kills = tmp_path / "killed/small/widget/seed0", random.Random(2), 0
    while zygote.stop_at(arguments, "steps", choice.randint(3, 4)) == -signal.SIGKILL:
        kills += 1
        assert len(checkpoints(folder)) <= 3, checkpoints(folder)
    assert kills >= 3
    assert_same_run(folder, tmp_path / "whole/small/widget/seed0", ["distill"])


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_saves_and_tells(zygote, data, tmp_path):
    more = ("--checkpoint.every_n_train_steps=1000", "--model.segmentation_width=16")
    zygote.finish(run_args(data, tmp_path / "whole", "destseg", 8, *more))
    arguments = run_args(data, tmp_path / "killed", "destseg", 8, *more)
    folder = tmp_path / "killed/small/widget/seed0"
    for _ in range(2):
        before = zygote.count("steps")
        status = zygote.stop_at(arguments, "steps", 2, signal.SIGTERM)
        assert status == 1
        assert "stopped by SIGTERM; the same command resumes" in zygote.log()
        done = zygote.count("steps") - before
        assert saved_steps(folder, ["distill"]) >= done
    zygote.finish(arguments)
    assert_same_run(folder, tmp_path / "whole/small/widget/seed0", ["distill", "segment"])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["fingerprint"]["resumed_from_step"] >= 4


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_fit_goes_on_with_ckpt_path_last(zygote, data, tmp_path):
    def arguments(folder: Path) -> list[str]:
        return [
            *("fit", "--config", str(config_path("destseg", "distill")), "--ckpt_path", "last"),
            *(f"--data.root={data[0]}", "--data.category=widget", "--data.batch_size=4"),
            *(f"--data.textures={data[1]}", "--data.num_workers=0"),
            *(*tiny_arguments(32), "--model.weights=random", "--model.lr=0.05"),
            "--trainer.enable_progress_bar=false",
            *(f"--checkpoint.dirpath={folder}", f"--trainer.default_root_dir={folder}"),
            *("--checkpoint.every_n_train_steps=2", "--trainer.max_steps=13"),
            *("--trainer.accelerator=cpu", "--trainer.precision=32-true"),
        ]

    zygote.finish(arguments(tmp_path / "whole"))
    before = zygote.count("steps")
    for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 1), (signal.SIGKILL, -9)):
        assert zygote.stop_at(arguments(tmp_path / "killed"), "steps", 4, number) == status
    assert "--ckpt_path last" not in zygote.log()
    zygote.finish(arguments(tmp_path / "killed"))
    assert zygote.count("steps") - before <= 13 + 2 * (INTERVAL + 1)
    files = [read_checkpoint(tmp_path / name / "last.ckpt") for name in ("killed", "whole")]
    assert files[0]["global_step"] == files[1]["global_step"] == 13
    ours, expected = (file["state_dict"] for file in files)
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    assert checkpoints(tmp_path / "killed") == ["last.ckpt"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits file sizes")
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path):
    import resource

    path, writer = tmp_path / "last.ckpt", AtomicCheckpointIO()
    writer.save_checkpoint({"weights": torch.zeros(10)}, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system then refuses to write more, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(
            CheckpointError, match=r"last\.ckpt cannot be written \(File too large\)"
        ):
            writer.save_checkpoint({"weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert checkpoints(tmp_path) == ["last.ckpt"]


def test_outputs_that_cannot_be_written_are_told(data, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    assert main(run_args(data, tmp_path / "file", "destseg", 1)) == 2
    assert "cannot be written (Not a directory)" in capsys.readouterr().err

    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert main(run_args(data, tmp_path / "out", "destseg", 1)) == 2
    assert "cannot be written (Read-only file system)" in capsys.readouterr().err


def test_a_checkpoint_cut_short_is_told(data, tmp_path, capsys):
    folder = tmp_path / "small/widget/seed0"
    folder.mkdir(parents=True)
    path = folder / "distill-resume.ckpt"
    torch.save({"state_dict": {"weight": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])
    more = "--model.segmentation_width=16"
    assert main(run_args(data, tmp_path, "destseg", 1, more)) == 2
    told = capsys.readouterr().err
    assert "distill-resume.ckpt is damaged" in told
    assert "remove it and train again" in told
    assert path.stat().st_size == 2000


def test_code_is_never_loaded(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"path": tmp_path}, path)  # a pickled object, if a harmless one
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
