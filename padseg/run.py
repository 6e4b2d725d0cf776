"""Both phases, test and tables over categories and seeds; what was cut off is resumed."""

import hashlib
import inspect
import logging
import math
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import wandb
from lightning import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, Timer
from lightning.pytorch.loggers import WandbLogger

from padseg import __version__
from padseg.callbacks import RecordsCallback, WandbCallback
from padseg.data.demo import DEMO_CATEGORIES, DEMO_TEACHER, make_demo
from padseg.data.layouts import list_samples
from padseg.data.samples import list_textures
from padseg.errors import ConfigError, PadsegError
from padseg.files import locked, read_json, write_json
from padseg.lightning_cli import PadsegCLI, told_to_stop
from padseg.models import SYSTEMS
from padseg.modules import SegmentationModule, StudentDistillModule, read_checkpoint
from padseg.modules.checkpoint import KEY, store_calibration
from padseg.report.tables import METRICS, print_results, write_results
from padseg.schedule import Job, devices, in_processes, on_ray

_MODULES = {"distill": StudentDistillModule, "segment": SegmentationModule}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What `padseg run` is asked for.

    Attributes:
        system: `stpm`, `rstpm`, `destseg` or `pfadseg`.
        root: Folder of the data set.
        categories: Categories in it.
        out: Folder for the results.
        textures: Folder of textures; one-phase systems ignore it.
        seeds: Seeds.
        steps: Optimiser steps of both phases; empty for the configured ones.
        batch_size: Images a step; None for the configured number.
        precision: Lightning's name of the precision; None for the fastest that is safe here.
        weights: The teacher's weight file; None for timm's hub.
        label: Name of the folder and the rows; None for the system's name.
        layout: Of the data set's folder.
        wandb: Project of Weights & Biases to log to as well; each phase is a run of its own.
        overrides: Options as of `fit`, from `model.KEY`, `data.KEY` or `trainer.KEY` to the value.
        progress: Whether a bar is shown.
    """

    system: str
    root: Path
    categories: tuple[str, ...]
    out: Path
    textures: Path | None = None
    seeds: tuple[int, ...] = (0,)
    steps: tuple[int, ...] = ()
    batch_size: int | None = None
    precision: str | None = None
    weights: str | None = None
    label: str | None = None
    layout: str = "mvtec"
    wandb: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    progress: bool = True

    def __post_init__(self) -> None:
        """Check what needs no file.

        Raises:
            ConfigError: An option cannot be used.
        """
        if self.overrides and self.label is None:
            key = next(iter(self.overrides))
            raise ConfigError(f"--{key} departs from {self.system}: name the variant with --label.")
        names = [("--label", self.name), *(("--category", name) for name in self.categories)]
        for option, name in names:
            if name in ("", ".", "..") or {"/", "\\"} & set(name):
                raise ConfigError(f"{option} {name!r} is not a plain name of a folder.")
        if self.steps and (min(self.steps) < 1 or len(self.steps) not in (len(self.phases), 2)):
            raise ConfigError(f"--steps takes {len(self.phases)} numbers from 1 up: {self.phases}.")
        if min(self.seeds) < 0:
            raise ConfigError(f"--seed {min(self.seeds)} is negative.")
        if "data.layout" in self.overrides:
            raise ConfigError("--data.layout is --layout here.")
        for key in self.overrides:
            known = [phase for phase in self.phases if _takes(phase, key)]
            if not known:
                raise ConfigError(f"--{key} is not an option of {self.system}'s modules.")

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of the system."""
        return ("distill", "segment") if SYSTEMS[self.system].segmentation else ("distill",)

    @property
    def name(self) -> str:
        """Label of folder and rows."""
        return self.system if self.label is None else self.label

    def elsewhere(self) -> "RunOptions":
        """The same for another process, which has another working folder and no terminal."""
        textures = None if self.textures is None else self.textures.absolute()
        weights = self.weights
        if weights is not None and Path(weights).is_file():
            weights = str(Path(weights).absolute())
        return replace(
            self,
            root=self.root.absolute(),
            out=self.out.absolute(),
            textures=textures,
            weights=weights,
            progress=False,
        )


def _takes(phase: str, key: str) -> bool:
    """Whether the phase's module has the option; data and trainer options go to both."""
    room, _, option = key.partition(".")
    return room != "model" or option in inspect.signature(_MODULES[phase]).parameters


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
    with locked(folder), told_to_stop("the same command goes on from here"):
        asked = _asked(options, category, seed)
        _refuse_other_options(folder / "options.json", asked)
        metrics = folder / "metrics.json"
        if metrics.exists():
            return read_json(metrics)
        phases: dict[str, dict[str, Any]] = {}
        resumed_from = 0
        for phase in options.phases:
            was_done = (folder / f"{phase}.json").exists()
            with _finished_wandb():
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
                "versions": _versions(),
                "data_sha256": _data_hash(options, category),
                "teacher_sha256": final["teacher_sha256"],
                "resumed_from_step": resumed_from,
            },
        }
        write_json(metrics, result)
        return result


def _run_phase(
    options: RunOptions, category: str, seed: int, folder: Path, phase: str
) -> dict[str, Any]:
    """Train and test one phase, unless that is done already."""
    done = folder / f"{phase}.json"
    if done.exists():
        return read_json(done)
    final = folder / f"{phase}.ckpt"
    resume = folder / f"{phase}-resume.ckpt"
    _keep_log(folder / "logs" / phase / "metrics.csv")
    cli = PadsegCLI(_phase_args(options, category, seed, folder, phase), run=False)
    if cli.trainer.world_size > 1:
        raise ConfigError(
            "--trainer.devices: a run takes one device, and `padseg run` starts a run on each; use "
            "`padseg fit` for several devices on one run."
        )
    cli.datamodule.check_test()
    _reset_peak_memory()
    trainer, timer = cli.trainer, Timer()
    trainer.callbacks.append(timer)  # type: ignore[attr-defined]
    if phase == options.phases[-1]:
        trainer.callbacks.append(RecordsCallback(folder, options.root))  # type: ignore[attr-defined]
    if options.wandb is not None:
        _add_wandb(trainer, options.wandb, folder, f"{options.name} {category} seed{seed}", phase)
    resumed_from = 0
    if final.exists():
        trained = read_checkpoint(final)
        cli.model.load_state_dict(trained["state_dict"])
        resumed_from = int(trained["global_step"])
        minutes = read_json(folder / f"{phase}-trained.json")["train_minutes"]
    else:
        if resume.exists():
            resumed_from = int(read_checkpoint(resume)["global_step"])
        trainer.fit(
            cli.model, datamodule=cli.datamodule, ckpt_path=resume if resumed_from else None
        )
        minutes = timer.time_elapsed("train") / 60
        write_json(folder / f"{phase}-trained.json", {"train_minutes": minutes})
        _keep_final(trainer, final)
    resume.unlink(missing_ok=True)
    calibration = cli.thresholds.calibrate(trainer, cli.model, cli.datamodule)
    store_calibration(final, calibration)
    start = time.perf_counter()
    (figures,) = trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    seconds = time.perf_counter() - start
    saved = read_checkpoint(final)
    result = {
        "metrics": {name: _finite(figures[name]) for name in METRICS},
        "train_minutes": minutes,
        "peak_memory_mb": _peak_memory_mb(),
        "images_per_second": len(cli.datamodule.check_test()) / seconds,
        "calibration": calibration,
        "teacher_sha256": saved[KEY]["teacher_sha256"],
        "steps": int(saved["global_step"]),
        "resumed_from_step": resumed_from,
    }
    write_json(done, result)
    return result


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
    trainer.lightning_module.load_state_dict(read_checkpoint(best)["state_dict"])
    best.replace(final)


def _add_wandb(trainer: Trainer, project: str, folder: Path, group: str, phase: str) -> None:
    logger = WandbLogger(
        project=project, name=f"{group} {phase}", group=group, job_type=phase, save_dir=folder
    )
    trainer.loggers = [*trainer.loggers, logger]
    trainer.callbacks += [WandbCallback(), LearningRateMonitor()]  # type: ignore[attr-defined]


@contextmanager
def _finished_wandb() -> Iterator[None]:
    """End the W&B run that was started within: the next phase is another one."""
    before = wandb.run
    failed = 1
    try:
        yield
        failed = 0
    finally:
        if wandb.run is not before:
            wandb.finish(exit_code=failed)


def _keep_log(path: Path) -> None:
    """Rename the log of a process that was cut off: Lightning's logger would delete it."""
    if path.exists():
        number = 1 + len(list(path.parent.glob(f"{path.stem}-*{path.suffix}")))
        path.rename(path.with_stem(f"{path.stem}-{number}"))


def _phase_args(
    options: RunOptions, category: str, seed: int, folder: Path, phase: str
) -> list[str]:
    """The command line of `fit` for one phase."""
    given: dict[str, Any] = {
        "seed_everything": seed,
        "data.root": options.root,
        "data.category": category,
        "data.layout": options.layout,
        "trainer.logger": "CSVLogger",
        "trainer.logger.save_dir": folder,
        "trainer.logger.name": "logs",
        "trainer.logger.version": phase,
        "trainer.default_root_dir": folder / "logs" / phase,
        "trainer.enable_progress_bar": options.progress,
        "trainer.devices": 1,
        "checkpoint.dirpath": folder,
        "checkpoint.filename": f"{phase}-resume",
        "checkpoint.save_last": "false",
        "checkpoint.save_top_k": 1,
    }
    if SYSTEMS[options.system].synthetic:
        given["data.textures"] = options.textures
    if options.steps:
        given["trainer.max_steps"] = options.steps[options.phases.index(phase)]
    if options.batch_size is not None:
        given["data.batch_size"] = options.batch_size
    if options.precision is not None:
        given["trainer.precision"] = options.precision
    if phase == "distill" and options.weights is not None:
        given["model.weights"] = options.weights
    if phase == "segment":
        given["model.distilled"] = folder / "distill.ckpt"
    given |= {key: value for key, value in options.overrides.items() if _takes(phase, key)}
    config = ["--config", str(config_path(options.system, phase))]
    return config + [f"--{key}={value}" for key, value in given.items()]


def config_path(system: str, phase: str) -> Path:
    """The configuration of a phase, in the installed package or in the checkout."""
    package = Path(__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        path = folder / system / f"{phase}.yaml"
        if path.is_file():
            return path
    raise ConfigError(
        f"there is no configuration of {system}'s phase {phase}: install padseg again."
    )


def _asked(options: RunOptions, category: str, seed: int) -> dict[str, Any]:
    """What the results depend on, in plain values; paths of inputs may move."""
    asked = asdict(options)
    inputs = ("root", "layout", "textures", "weights")
    for key in (*inputs, "out", "categories", "seeds", "progress", "wandb"):
        del asked[key]
    return {**asked, "steps": list(options.steps), "category": category, "seed": seed}


def _refuse_other_options(path: Path, asked: dict[str, Any]) -> None:
    if not path.exists():
        write_json(path, asked)
        return
    there = read_json(path)
    if there != asked:
        keys = sorted(key for key in {*there, *asked} if there.get(key) != asked.get(key))
        told = ", ".join(f"{key} {there.get(key)!r} (now {asked.get(key)!r})" for key in keys)
        raise ConfigError(f"{path.parent} holds a run with {told}: pass another --label or --out.")


def _data_hash(options: RunOptions, category: str) -> str:
    """SHA-256 over names and contents of the category's files and, where used, of the textures."""
    samples = list_samples(options.root, category, options.layout)
    paths = [(options.root, path) for s in samples for path in (s.path, *s.masks)]
    if SYSTEMS[options.system].synthetic and options.textures is not None:
        paths += [(options.textures, path) for path in list_textures(options.textures)]
    digest = hashlib.sha256()
    for root, path in paths:
        digest.update(path.relative_to(root).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "albumentations")
    return {
        "padseg": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return float(value) if math.isfinite(value) else None


def _reset_peak_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory_mb() -> float | None:
    """Of the GPU, or of the process, in MiB; None where the system does not tell."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def demo(out: Path, categories: Sequence[str] = DEMO_CATEGORIES) -> pd.DataFrame:
    """Make the demo data set in `out`, train DeSTSeg on some of its categories and test.

    Returns:
        Their rows of `results.csv`; the runs lie in `out/runs/demo/<category>/seed0`.
    """
    data = make_demo(out / "data")
    return run(
        RunOptions(
            system="destseg",
            root=data,
            categories=tuple(categories),
            out=out / "runs",
            textures=data / "textures",
            steps=(64, 120),
            batch_size=8,
            weights=str(DEMO_TEACHER),
            label="demo",
            overrides={
                "model.teacher": "test_resnet",
                "model.width": "16",
                "model.segmentation_width": "32",
                "model.image_size": "128",
                "model.lr": "0.2",
                "model.lr_head": "0.1",
                "data.augmentation": "none",
            },
        )
    )
