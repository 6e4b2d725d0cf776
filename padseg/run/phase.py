"""One phase of a run: begin, train, test; what is done already is not done again."""

import gc
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, Timer

from padseg.callbacks import RecordsCallback, WandbCallback
from padseg.callbacks.wandb_artifacts import log_model
from padseg.callbacks.wandb_logger import wandb_loggers
from padseg.callbacks.wandb_runs import finished_wandb, start_wandb
from padseg.errors import ConfigError
from padseg.lightning_cli.cli import PadsegCLI
from padseg.lightning_cli.earlier_files import keep_log
from padseg.machine.files import read_json, write_json
from padseg.machine.peak_memory import highest_peak, peak_memory_mb, reset_peak_memory
from padseg.machine.progress import working
from padseg.metrics.names import METRIC_KEYS
from padseg.modules import read_header
from padseg.modules.saving import save_weights
from padseg.modules.trainer_parts import callbacks_of
from padseg.run.files import PhaseFiles
from padseg.run.fingerprint import device_name
from padseg.run.options import RunOptions
from padseg.run.results import PhaseResult, TrainingCost, read_phase_result
from padseg.run.runs import Run

_NOT_TESTED: dict[str, float | None] = dict.fromkeys(METRIC_KEYS)


def run_phase(
    run: Run, files: PhaseFiles, tested: bool, callbacks: Sequence[Callback] = ()
) -> PhaseResult:
    """Train and test one phase of a run, unless that is done already.

    Args:
        run: The run.
        files: Those of the phase.
        tested: Whether there are test images; without any, the phase is only trained.
        callbacks: Further callbacks of the training.
    """
    if files.result.exists():
        return read_phase_result(files.result)
    with finished_wandb():
        cli = _begin(run, files, tested, callbacks)
        resumed_from = _train(cli, files)
        metrics, images_per_second = _test(cli, files) if tested else (_NOT_TESTED, None)
        if files.phase == run.options.phases[-1]:
            name = f"{run.options.name}-{run.category}"
            for logger in wandb_loggers(cli.trainer):
                log_model(logger, name, files.checkpoint, ["final", f"seed{run.seed}"], metrics)
    device = cli.trainer.strategy.root_device
    cost = TrainingCost(**read_json(files.cost))
    trained = read_header(files.checkpoint)
    checked = cli.datamodule.checked_test
    evaluation = None if checked is None else checked.evaluation
    loader = cli.trainer.test_dataloaders
    if evaluation is not None and sum(cli.trainer.num_test_batches) < len(loader or ()):
        part = "only a part of the test images was evaluated (--trainer.limit_test_batches)."
        evaluation = replace(evaluation, warnings=(*evaluation.warnings, part))
    result = PhaseResult(
        metrics=metrics,
        train_minutes=cost.train_minutes,
        peak_memory_mb=highest_peak(cost.peak_memory_mb, peak_memory_mb(device)),
        images_per_second=images_per_second,
        calibration=trained.calibration,
        teacher_sha256=trained.teacher_sha256,
        precision=str(cli.trainer.precision),
        device=device_name(device),
        steps=trained.global_step,
        resumed_from_step=resumed_from,
        evaluation=evaluation,
    )
    write_json(files.result, asdict(result))
    return result


def _begin(run: Run, files: PhaseFiles, tested: bool, callbacks: Sequence[Callback]) -> PadsegCLI:
    """Build trainer, module and data, and check the data.

    Raises:
        PadsegError: An option or an image cannot be used.
    """
    # Trainers, modules and data refer to each other, so the decoded images of the phase before would stay.
    gc.collect()
    keep_log(files.logs / "metrics.csv")
    saved = [path for path in (files.checkpoint, files.resume) if path.exists()]
    options, args = run.options, run.fit_args(files)
    before = options.phases[: options.phases.index(files.phase)]
    begun = [*saved, *(PhaseFiles(files.run, phase).checkpoint for phase in before)]
    if options.precision is None and begun:
        # A run that another machine began continues in the default precision of that machine.
        precision = read_header(begun[0]).precision
        args += [] if precision is None else [f"--trainer.precision={precision}"]
    cli = PadsegCLI(
        args,
        run=False,
        callbacks=[*_callbacks(options, files, tested), *callbacks],
        title=run.title(files.phase),
        bars=options.bars,
    )
    if cli.trainer.world_size > 1:
        raise ConfigError(
            "--trainer.devices: a run uses one device, and `padseg run` starts one run on each; use "
            "`padseg fit` for several devices on one run."
        )
    # A broken image would stop the test after hours of training, and a repaired one would be different data.
    begins = files.phase == options.phases[0] and not saved
    if tested:
        with working("Checking the test images"):
            cli.datamodule.check_test(decoded=begins)
    reset_peak_memory(cli.trainer.strategy.root_device)
    if options.wandb is not None:
        group = f"{options.name} {run.category}"
        logger = start_wandb(options.wandb, files.run, files.logs, group, run.seed, files.phase)
        cli.trainer.loggers = [*cli.trainer.loggers, logger]
    return cli


def _callbacks(options: RunOptions, files: PhaseFiles, tested: bool) -> list[Callback]:
    """The callbacks of a run in addition to those of `fit`."""
    callbacks: list[Callback] = []
    limit = options.overrides_of(files.phase).get("trainer.max_time", "null")
    if limit == "null":  # otherwise the Trainer has its own Timer
        callbacks.append(Timer())
    if tested and files.phase == options.phases[-1]:
        callbacks.append(RecordsCallback(files.run, options.root))
    if options.wandb is not None:
        callbacks += [WandbCallback(), LearningRateMonitor()]
    return callbacks


def _train(cli: PadsegCLI, files: PhaseFiles) -> int:
    """Train to the end, which sets the thresholds, unless that is done already; write what it took.

    Returns:
        The step that this process began with.
    """
    if files.checkpoint.exists():
        resumed_from = read_header(files.checkpoint).global_step
    else:
        resumes = files.resume.exists()
        resumed_from = read_header(files.resume).global_step if resumes else 0
        start = files.resume if resumed_from else None
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=start)
        cost = TrainingCost(
            train_minutes=callbacks_of(cli.trainer, Timer)[0].time_elapsed("train") / 60,
            peak_memory_mb=peak_memory_mb(cli.trainer.strategy.root_device),
        )
        write_json(files.cost, asdict(cost))
        _keep_final(cli.trainer, files.checkpoint)
    files.resume.unlink(missing_ok=True)
    return resumed_from


def _test(cli: PadsegCLI, files: PhaseFiles) -> tuple[dict[str, float | None], float]:
    """Evaluate on the test images.

    Returns:
        The metrics, None if undefined, and images per second.
    """
    cli.datamodule.setup("test")
    start = time.perf_counter()
    # With its path, because on SLURM Lightning would prefer the checkpoint of a preempted job.
    (values,) = cli.trainer.test(
        cli.model, datamodule=cli.datamodule, ckpt_path=files.checkpoint, verbose=False
    )
    seconds = time.perf_counter() - start
    metrics = {key: value if math.isfinite(value) else None for key, value in values.items()}
    loader = cli.datamodule.test_dataloader()
    (batches,) = cli.trainer.num_test_batches  # --trainer.limit_test_batches bounds them
    return metrics, min(int(batches) * loader.batch_size, len(loader.dataset)) / seconds


def _keep_final(trainer: Trainer, path: Path) -> None:
    """Save the last step or, if the configuration chooses by held-out images, the best one."""
    chosen = [each for each in callbacks_of(trainer, ModelCheckpoint) if each.monitor]
    if chosen and chosen[0].best_model_path:
        Path(chosen[0].best_model_path).replace(path)
    else:
        save_weights(trainer, path)
