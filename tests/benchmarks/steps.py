"""Training steps of every system and phase as `padseg fit` does them: what they launch, what compiling saves.

    PYTHONPATH=tests python tests/benchmarks/steps.py launches [--size 256] [--batch 8] [--only tedseg ...]
    PYTHONPATH=tests python tests/benchmarks/steps.py compiled [--mode default] [--rounds 8] [--precision 32-true] ...

`launches` counts the operations of a step and the bytes that they read, from the copy of a batch to the optimiser,
painting included. It runs in bf16-mixed on the simulated GPU of `tests/devices`, which counts every operation that
launches something, that is all but views and allocations. On a real GPU, some operations are several kernels, and
autocast has another list of operations than on a CPU.

`compiled` trains with `--compile.mode`, but every other step without what is compiled. It measures the processor time
of networks, loss, gradients and optimiser. The median counts; what the first two compiled steps take beyond it is the
time of compiling.
"""

import argparse
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning import Callback, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from rich.console import Console
from rich.table import Table

from devices.simulated import SimulatedDevice, simulated_strategy
from padseg.callbacks import CompileCallback
from padseg.demo import make_demo
from padseg.lightning_cli.cli import PadsegCLI
from padseg.lightning_cli.recipes import config_path
from padseg.models import SYSTEMS, find_system
from padseg.names import SYSTEM_NAMES

_STEPS = 3
_PHASES = {"distill": "one", "segment": "two"}
_SHOWN = 4  # kinds of operations in a row
# Phases whose networks are compiled.
_COMPILED = (("pfadseg", "distill"), ("destseg", "distill"), ("tedseg", "segment"))


def train(
    system: str, phase: str, steps: int, folder: Path, options: list[str], callbacks: list[Callback]
) -> None:
    """Train a phase of a system for some steps, the second one after the first one, and save it.

    Args:
        system: The system.
        phase: `distill` or `segment`.
        steps: Of the training.
        folder: For `<phase>.ckpt`.
        options: Of the command line.
        callbacks: Of the Trainer.
    """
    if phase == "segment":
        own = [f"--model.distilled={folder}/distill.ckpt"]
    else:
        second = len(find_system(system).teachers) == 2
        own = ["--model.weights=random", *(["--model.weights2=random"] if second else [])]
    config = ["--config", str(config_path(system, phase)), "--trainer.accelerator=cpu"]
    cli = PadsegCLI([*config, *options, *own], run=False)
    simulated = any(isinstance(callback, CountStep) for callback in callbacks)
    trainer = Trainer(
        strategy=simulated_strategy() if simulated else SingleDeviceStrategy("cpu"),
        precision=None if simulated else cli.trainer.precision,
        callbacks=callbacks,
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(cli.model, datamodule=cli.datamodule)
    trainer.save_checkpoint(folder / f"{phase}.ckpt")


class CountStep(Callback):
    """Counts what the second step launches on a simulated device, up to the beginning of the third."""

    operations: Counter[str]
    bytes: int

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx == _STEPS - 1:
            self.operations, self.bytes = self.device.kernels, self.device.bytes
        self.device.reset()


def system_steps(system: str, options: list[str]) -> Iterator[tuple[str, CountStep]]:
    """The name of each phase, and a step of it."""
    with tempfile.TemporaryDirectory() as folder:
        for phase, name in _PHASES.items():
            if phase == "segment" and find_system(system).segmentation is None:
                continue
            with SimulatedDevice() as device:
                counted = CountStep(device)
                train(system, phase, _STEPS, Path(folder), options, [counted])
            yield name, counted


def launches(options: argparse.Namespace, given: list[str]) -> Table:
    """Operations and bytes of a step of each system."""
    table = Table("system", "phase", "operations", "MB read", "most frequent", box=None)
    for system in options.only:
        for phase, step in system_steps(system, given):
            frequent = step.operations.most_common(_SHOWN)
            table.add_row(
                *(system, phase, f"{step.operations.total():,}", f"{step.bytes / 1e6:,.0f}"),
                ", ".join(f"{name} {count}" for name, count in frequent),
            )
    return table


class TakeTurns(Callback):
    """Every other step without what is compiled; the processor seconds of both."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"force_eager": [], "default": []}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._stance = [*self.seconds][batch_idx % 2]
        torch.compiler.set_stance(self._stance)
        self._begun = _processor_time()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seconds[self._stance].append(_processor_time() - self._begun)


def _processor_time() -> float:
    """Seconds, with those of finished processes such as compilers."""
    return sum(os.times()[:4])


def compiled(options: argparse.Namespace, given: list[str]) -> Table:
    """Processor seconds of a step without and with compiled networks."""
    table = Table("system", "phase", "eager", "compiled", "ratio", "compiling", box=None)
    given = [*given, f"--trainer.precision={options.precision}"]
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # whose processes end within the step
    for system, phase in _COMPILED:
        if system not in options.only:
            continue
        turns = TakeTurns()
        # In a folder of its own, the cache of earlier calls makes nothing faster.
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/cache"
            if phase == "segment":
                train(system, "distill", _STEPS, Path(folder), given, [])
            callbacks = [CompileCallback(options.mode), turns]
            train(system, phase, 2 * (options.rounds + 2), Path(folder), given, callbacks)
        # The first step of each kind prepares, the second may still.
        eager, fast = (statistics.median(times[2:]) for times in turns.seconds.values())
        compiling = sum(turns.seconds["default"][:2]) - 2 * fast
        figures = f"{eager:.3f}", f"{fast:.3f}", f"{eager / fast:.2f}", f"{compiling:.0f}"
        table.add_row(system, _PHASES[phase], *figures)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=("launches", "compiled"))
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images per step")
    parser.add_argument("--only", nargs="+", choices=SYSTEM_NAMES, default=tuple(SYSTEMS))
    parser.add_argument("--mode", default="default", help="of torch.compile")
    parser.add_argument("--rounds", type=int, default=8, help="steps of each kind that are timed")
    parser.add_argument("--precision", default="32-true", help="of the compiled steps")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_demo(Path(folder) / "data", categories=["cap"])
        given = [
            *(f"--data.root={data}", "--data.category=cap", f"--data.textures={data}/textures"),
            *(
                f"--data.batch_size={options.batch}",
                "--data.num_workers=0",
                "--data.val_fraction=0",
            ),
            f"--model.image_size={options.size}",
        ]
        table = {"launches": launches, "compiled": compiled}[options.what](options, given)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
