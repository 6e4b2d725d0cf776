"""One run: all phases for a category and a seed, in its own folder."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning import Callback

from padseg.data.layouts import has_test_images
from padseg.lightning_cli.interrupts import exit_when_interrupted
from padseg.lightning_cli.option_errors import options_explained
from padseg.machine.console import quietly, say
from padseg.machine.folders import OPTIONS_FILE, locked, require_same_options
from padseg.machine.peak_memory import highest_peak
from padseg.machine.progress import duration
from padseg.plugins import load_plugin
from padseg.run.files import METRICS_FILE, PhaseFiles
from padseg.run.fingerprint import hash_data, versions
from padseg.run.phase import run_phase
from padseg.run.results import Fingerprint, PhaseResult, RunResult, read_result
from padseg.run.runs import Run
from padseg.run.table import metrics_line, write_table

# Files that may remain from a call that failed before its first checkpoint; training cannot resume from them.
_BEFORE_TRAINING = {".lock", OPTIONS_FILE, "best.ckpt"}


def run_one(run: Run) -> None:
    """Train and test one category with one seed, or resume where an earlier call stopped.

    Raises:
        PadsegError: An input is wrong, or the folder is in use or holds a run with other options.
    """
    load_plugin(run.options.plugin)  # this may be another process than that of the command
    was_finished = (run.folder / METRICS_FILE).exists()
    with quietly(run.options.quiet):
        run_in(run.folder, run, remedy="pass another --label or --out")
    read_result(run.folder / METRICS_FILE)  # one that was finished before may be broken now
    if not was_finished:  # the table of many that were is written once, by `run`
        write_table(run.options.out)


def run_in(folder: Path, run: Run, *, remedy: str, callbacks: Sequence[Callback] = ()) -> None:
    """Do one run in a folder; see `run_one`.

    Args:
        folder: The folder for its results.
        run: The run.
        remedy: What to do if the folder holds another run, for the message.
        callbacks: Further callbacks of the trainings.
    """
    options = run.options
    tested = has_test_images(options.root, run.category, options.layout)
    with (
        locked(folder),
        exit_when_interrupted("the same command resumes from here"),
        options_explained(),
        lightning_quiet(),
    ):
        dependencies = run.results_depend_on()
        if not has_begun(folder):  # so it may be a run with other options
            for name in (OPTIONS_FILE, "best.ckpt"):
                (folder / name).unlink(missing_ok=True)
        require_same_options(folder, dependencies, remedy)
        if (folder / METRICS_FILE).exists():
            say(f"{folder} is already finished.")
            return
        phases: dict[str, PhaseResult] = {}
        done_before = 0
        for phase in options.phases:
            say(f"{run.title(phase)}: in {folder}")
            files = PhaseFiles(folder, phase)
            was_done = files.result.exists()
            result = run_phase(run, files, tested, callbacks)
            done_before += result.steps if was_done else result.resumed_from_step
            phases[phase] = result
        fingerprint = Fingerprint(
            options=dependencies,
            versions=versions(),
            data_sha256=hash_data(
                options.root, run.category, options.layout, options.used_textures
            ),
            teacher_sha256=phases[options.phases[-1]].teacher_sha256,
            precision={name: phase.precision for name, phase in phases.items()},
            device={name: phase.device for name, phase in phases.items()},
            resumed_from_step=done_before,
        )
        joined = _join(run, phases, fingerprint)
        joined.write(folder / METRICS_FILE)
        figures = metrics_line(joined.metrics) if tested else "trained, not tested: no test images"
        minutes = duration(60 * sum(phase.train_minutes for phase in phases.values()))
        say(f"{run.title()}: {figures}; {minutes} of training.")


def _join(run: Run, phases: dict[str, PhaseResult], fingerprint: Fingerprint) -> RunResult:
    """The result of a run, from the results of its phases."""
    last = phases[run.options.phases[-1]]
    return RunResult(
        label=run.options.name,
        system=run.options.system,
        category=run.category,
        seed=run.seed,
        metrics=last.metrics,
        train_minutes=sum(phase.train_minutes for phase in phases.values()),
        peak_memory_mb=highest_peak(*(phase.peak_memory_mb for phase in phases.values())),
        images_per_second=last.images_per_second,
        calibration=last.calibration,
        distill=phases["distill"],
        fingerprint=fingerprint,
        evaluation=last.evaluation,
    )


def has_begun(folder: Path) -> bool:
    """Whether a training has begun in the folder of a run."""
    return not {path.name for path in folder.iterdir() if path.is_file()} <= _BEFORE_TRAINING


@contextmanager
def lightning_quiet() -> Iterator[None]:
    """Silence Lightning's messages about each Trainer, but not its warnings."""
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
