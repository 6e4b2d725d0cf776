"""Both phases, test and tables over categories and seeds; what was cut off is resumed."""

import gc
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from rich.console import Console

from padseg.callbacks import RecordsCallback
from padseg.callbacks.wandb_runs import finished_wandb, log_to_wandb
from padseg.data.image_files import list_textures
from padseg.data.layouts import list_samples
from padseg.errors import ConfigError, PadsegError
from padseg.lightning_cli.cli import PadsegCLI, told_to_stop
from padseg.machine.files import read_json, write_json
from padseg.machine.folders import locked, require_same_options
from padseg.machine.peak_memory import peak_memory_mb, reset_peak_memory
from padseg.models import SYSTEMS
from padseg.modules import read_header
from padseg.modules.checkpoint import store_calibration
from padseg.report.tables import METRICS, print_results, write_results
from padseg.run.fingerprint import device_name, hash_data, versions
from padseg.run.options import RunOptions
from padseg.run.schedule import Job, devices, in_processes, on_ray

_log = logging.getLogger(__name__)
_NOTHING = {".lock", "options.json", "best.ckpt"}


def run(
    options: RunOptions,
    parallel: int | None = None,
    shard: tuple[int, int] = (1, 1),
    ray: str | None = None,
) -> pd.DataFrame:
    """Train, test and tabulate every category with every seed.

    Args:
        options: What to run.
        parallel: Runs at a time on this machine; None for one a GPU.
        shard: (i, n) to do only the i-th of n equal parts of the runs, the others being done elsewhere.
        ray: Address of the Ray cluster to run on.

    Returns:
        The rows of `results.csv` that the options ask for.

    Raises:
        PadsegError: An input is wrong, or, at the end, some runs failed; the others are done.
    """
    for category in options.categories:
        list_samples(options.root, category, options.layout)
    if SYSTEMS[options.system].synthetic:
        if options.textures is None:
            raise ConfigError(f"{options.system} paints defects: --textures names their folder.")
        list_textures(options.textures)
    runs = [(category, seed) for category in options.categories for seed in options.seeds]
    runs = list(dict.fromkeys(runs))  # a name given twice
    runs = runs[shard[0] - 1 :: shard[1]]
    if parallel is None:
        parallel = max(1, len(devices()))
    if parallel < 1:
        raise ConfigError(f"--parallel {parallel}: at least one run at a time.")
    jobs: list[Job] = [(options.elsewhere(), category, seed) for category, seed in runs]
    if ray is not None:
        failed = on_ray(attempt, jobs, ray)
    elif parallel > 1 and len(runs) > 1:
        failed = in_processes(attempt, jobs, parallel)
    elif len(runs) == 1:
        run_one(options, *runs[0])
        failed = []
    else:
        failed = [job for job in jobs if not attempt(options, *job[1:])]
    table = write_results(options.out)
    rows = table[
        (table["label"] == options.name)
        & table["category"].isin(options.categories)
        & table["seed"].isin(options.seeds)
    ]
    print_results(rows)
    if failed:
        names = ", ".join(f"{job[1]} seed {job[2]}" for job in jobs if job in failed)
        raise PadsegError(f"{len(failed)} of {len(runs)} runs failed: {names}.")
    return rows


def attempt(options: RunOptions, category: str, seed: int) -> bool:
    """Do one run; when it fails, say why.

    Returns:
        Whether it succeeded.
    """
    try:
        run_one(options, category, seed)
    except PadsegError as error:
        _log.error("%s seed %d failed: %s", category, seed, error)
        return False
    except Exception:  # noqa: BLE001 - whatever it is, the other runs go on
        _log.exception("%s seed %d failed.", category, seed)
        return False
    return True


def run_one(options: RunOptions, category: str, seed: int) -> dict[str, Any]:
    """Train and test one category with one seed, or go on where an earlier call stopped.

    Returns:
        What `metrics.json` holds.

    Raises:
        PadsegError: An input is wrong, or the folder is in use or holds a run with other options.
    """
    folder = options.out / options.name / category / f"seed{seed}"
    console = Console(markup=False)  # names may hold brackets
    with locked(folder), told_to_stop("the same command goes on from here"), _quiet():
        asked = options.asked(category, seed)
        # A call that failed before its first checkpoint has left nothing that training can go on from.
        if {path.name for path in folder.iterdir() if path.is_file()} <= _NOTHING:
            for name in ("options.json", "best.ckpt"):
                (folder / name).unlink(missing_ok=True)
        require_same_options(folder, asked, "pass another --label or --out")
        metrics = folder / "metrics.json"
        if metrics.exists():
            console.print(f"{folder} is finished already.", highlight=False, soft_wrap=True)
            return read_json(metrics)
        phases: dict[str, dict[str, Any]] = {}
        resumed_from = 0
        for phase in options.phases:
            console.print(
                f"{category}, seed {seed}: {phase}, in {folder}", highlight=False, soft_wrap=True
            )
            was_done = (folder / f"{phase}.json").exists()
            with finished_wandb():
                phases[phase] = _run_phase(options, category, seed, folder, phase)
            resumed_from += phases[phase]["steps" if was_done else "resumed_from_step"]
        final = phases[options.phases[-1]]
        result = {
            "label": options.name,
            "system": options.system,
            "category": category,
            "seed": seed,
            **final["metrics"],
            "train_minutes": sum(phase["train_minutes"] for phase in phases.values()),
            "peak_memory_mb": max((phase["peak_memory_mb"] or 0) for phase in phases.values())
            or None,
            "images_per_second": final["images_per_second"],
            "calibration": final.get("calibration"),
            "distill": phases["distill"],
            "fingerprint": {
                "options": asked,
                "versions": versions(),
                "data_sha256": hash_data(
                    options.root, category, options.layout, options.used_textures
                ),
                "teacher_sha256": final["teacher_sha256"],
                "precision": {name: phase.get("precision") for name, phase in phases.items()},
                "device": {name: phase.get("device") for name, phase in phases.items()},
                "resumed_from_step": resumed_from,
            },
        }
        write_json(metrics, result)
        return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says of each of its trainers; warnings pass."""
    names = ("fabric", "pytorch", "pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(f"lightning.{name}") for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _run_phase(
    options: RunOptions, category: str, seed: int, folder: Path, phase: str
) -> dict[str, Any]:
    """Train and test one phase, unless that is done already."""
    done = folder / f"{phase}.json"
    if done.exists():
        return read_json(done)
    # Trainers, modules and data refer to each other: the decoded images of the phase before would stay.
    gc.collect()
    _keep_log(folder / "logs" / phase / "metrics.csv")
    args = options.fit_args(category, seed, folder, phase)
    before = [folder / f"{phase}{name}.ckpt" for name in ("", "-resume")]
    began = [read_header(path).precision for path in before if path.exists()]
    if options.precision is None and began and began[0] is not None:
        # What another machine began goes on in the precision that is the default there.
        args.append(f"--trainer.precision={began[0]}")
    cli = PadsegCLI(args, run=False)
    if cli.trainer.world_size > 1:
        raise ConfigError(
            "--trainer.devices: a run takes one device, and `padseg run` starts a run on each; use "
            "`padseg fit` for several devices on one run."
        )
    # A broken image would stop the test after hours of training, and mended be other data than before.
    begins = phase == options.phases[0] and not any(path.exists() for path in before)
    with Console().status("Checking the test images"):
        cli.datamodule.check_test(decoded=begins)
    device = cli.trainer.strategy.root_device
    reset_peak_memory(device)
    trainer, timer = cli.trainer, Timer()
    trainer.callbacks.append(timer)  # type: ignore[attr-defined]
    if phase == options.phases[-1]:
        trainer.callbacks.append(RecordsCallback(folder, options.root))  # type: ignore[attr-defined]
    if options.wandb is not None:
        log_to_wandb(trainer, options.wandb, folder, f"{options.name} {category} seed{seed}", phase)
    resumed_from = _train(cli, timer, folder, phase)
    trained = read_json(folder / f"{phase}-trained.json")
    final = folder / f"{phase}.ckpt"
    # With their paths: on SLURM, Lightning would prefer what a preempted job has left.
    calibration = cli.thresholds.calibrate(trainer, cli.model, cli.datamodule, final)
    store_calibration(final, calibration)
    cli.datamodule.setup("test")
    start = time.perf_counter()
    (figures,) = trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=final, verbose=False)
    seconds = time.perf_counter() - start
    saved = read_header(final)
    result = {
        "metrics": {name: _finite(figures[name]) for name in METRICS},
        "train_minutes": trained["train_minutes"],
        "peak_memory_mb": max(trained["peak_memory_mb"] or 0, peak_memory_mb(device) or 0) or None,
        "images_per_second": len(cli.datamodule.test_dataloader().dataset) / seconds,
        "calibration": None if calibration is None else calibration.to_dict(),
        "teacher_sha256": saved.teacher_sha256,
        "precision": str(trainer.precision),
        "device": device_name(device),
        "steps": saved.global_step,
        "resumed_from_step": resumed_from,
    }
    write_json(done, result)
    return result


def _train(cli: PadsegCLI, timer: Timer, folder: Path, phase: str) -> int:
    """Train one phase to its end, unless that is done already, and write down what it took.

    Returns:
        The step that this process began with.
    """
    final = folder / f"{phase}.ckpt"
    resume = folder / f"{phase}-resume.ckpt"
    trained = folder / f"{phase}-trained.json"
    if final.exists():
        resumed_from = read_header(final).global_step
    else:
        resumed_from = read_header(resume).global_step if resume.exists() else 0
        start = resume if resumed_from else None
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=start)
        cost = {
            "train_minutes": timer.time_elapsed("train") / 60,
            "peak_memory_mb": peak_memory_mb(cli.trainer.strategy.root_device),
        }
        write_json(trained, cost)
        _keep_final(cli.trainer, final)
    resume.unlink(missing_ok=True)
    return resumed_from


def _keep_final(trainer: Trainer, final: Path) -> None:
    """Save the last step, or, where the configuration chooses by held-out images, the best one."""
    chosen = [
        callback
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.monitor
    ]
    if not chosen or not chosen[0].best_model_path:
        trainer.save_checkpoint(final, weights_only=True)
        return
    best = Path(chosen[0].best_model_path)
    best.replace(final)


def _keep_log(path: Path) -> None:
    """Rename the log of a process that was cut off: Lightning's logger would delete it."""
    if path.exists():
        number = 1 + len(list(path.parent.glob(f"{path.stem}-*{path.suffix}")))
        path.rename(path.with_stem(f"{path.stem}-{number}"))


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return float(value) if math.isfinite(value) else None
