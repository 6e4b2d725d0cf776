"""The Lightning CLI behind `fit`, `validate`, `test` and `predict`, and behind `run`."""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from padseg.callbacks import (
    EvaluationCallback,
    PicturesCallback,
    ResumeCheckpoint,
    StepBar,
    ThresholdCallback,
)
from padseg.callbacks.resume import stop_together
from padseg.data import AnomalyDataModule
from padseg.errors import CheckpointError, ConfigError, PadsegError
from padseg.inference.writer import PredictionWriter
from padseg.lightning_cli.recipes import shipped
from padseg.machine.precision import accelerator, default_precision
from padseg.modules import AnomalyModule, read_header
from padseg.modules.header import STORED_WEIGHTS
from padseg.options import check_seed, plain

_EXPECTED_WARNINGS = (
    "Found .* module.* in eval mode",  # what is frozen
    "You're resuming from a checkpoint that ended before the epoch",  # the data counts its samples
    "LightningCLI's args parameter is intended",  # `run` composes them
    ".*isinstance\\(treespec, LeafSpec\\)",  # Lightning 2.6 with torch 2.13 and later
    ".*does not have many workers",  # decoded images are cached
    "The dirpath has changed from",  # a checkpoint may be moved
    '.*add the following callbacks: \\[("(Resume|Best)Checkpoint{[^"]*"(, )?)+\\]',  # a test has neither
    "It is recommended to use `self.log",  # the metrics have met across processes already
    "The number of training batches",  # a short training logs its losses all the same
    "Total length of `list` across ranks is zero",  # `--data.val_fraction 0` leaves nothing to validate on
    "Precision .*-mixed is not supported by the model summary",  # whose 32 bits a weight are right
    ".*exists and is not empty",  # a resumed run goes on in its folder
)
_SCORING = ("validate", "test", "predict")
_NO_CHECKPOINT = "--ckpt_path is not set: padseg {} needs the checkpoint of a training."
# The parser's words for a wrong option, in turn.
_PLAIN_WORDS = {
    r"- Does not validate against any of the Union subtypes .*? Errors: ": "",
    r"Does not validate against any of the Union subtypes .*? Errors: - ": "",
    r" - Expected a <class 'NoneType'>": "",
    r"\.? Given value type: <class 'jsonargparse.*": "",
    r"\.? Given value type: <class '\w+'> Given value:|\. Got value:": ", not",
    r"Expected a <class '(\w+)'>": r"expected \1",
    r"Expected a typing\.Literal\[(.*?)\]": r"expected one of \1",
    r"Problem with given class_path '(?:\w+\.)*(\w+)':": r"\1:",
    r'Parser key "([\w.]+)":': r"--\1:",
    r"argument _image_size\(model\) --> .*": "--data.image_size is the model's: pass --model.image_size",
}
for _message in _EXPECTED_WARNINGS:
    warnings.filterwarnings("ignore", message=_message)
# Lightning 2.6 calls what jsonargparse has deprecated; its users can do nothing about it.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


class _SaveConfig(SaveConfigCallback):
    """Lightning's, where the logger gives each run a folder: others would share one config.yaml."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if isinstance(trainer.logger, CSVLogger | TensorBoardLogger):
            super().setup(trainer, pl_module, stage)


class PadsegCLI(LightningCLI):
    """Lightning's CLI with padseg's modules, data and callbacks.

    Linked, so that each is written once: the seed of the run is the seed of the data's draws, and the
    data takes the image size of the model.

    Args:
        args: The command line; None for the process's own.
        run: False to build trainer, model and data only.
        callbacks: Further callbacks of the Trainer, after those of the command line.
    """

    # Precision of the thresholds in the checkpoint that is scored with.
    _calibrated_in: str | None = None

    def __init__(
        self,
        args: list[str] | None = None,
        run: bool = True,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        given = sys.argv[1:] if args is None else args
        self._asked = given[:1]
        options = (arg.partition("=")[0] for arg in given)
        self._typed = {name.rpartition(".")[2] for name in options if name.startswith("--model.")}
        super().__init__(
            AnomalyModule,
            AnomalyDataModule,
            subclass_mode_model=True,
            seed_everything_default=0,
            save_config_callback=_SaveConfig,
            save_config_kwargs={"overwrite": True},  # a resumed run writes it again
            trainer_defaults={
                "callbacks": [*callbacks],
                "precision": None,  # see `before_instantiate_classes`
                # Several sum their losses over as many batches, which is another recipe: to be asked for.
                "devices": 1,
                "max_epochs": -1,
                "max_steps": 1000,
                "check_val_every_n_epoch": None,
                "val_check_interval": 500,
                "num_sanity_val_steps": 0,
                # The data module shards by itself, without the duplicates of padding.
                "use_distributed_sampler": False,
                "plugins": [{"class_path": "padseg.modules.checkpoint.AtomicCheckpointIO"}],
                # Each device's own BatchNorm would see a part of the batch only.
                "sync_batchnorm": True,
            },
            auto_configure_optimizers=False,
            # Checkpoints hold plain hyper-parameters instead of the parsed configuration.
            load_from_checkpoint_support=False,
            parser_kwargs={"exit_on_error": False}
            | {name: {"exit_on_error": False} for name in self.subcommands() if run},
            args=args,
            run=run,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that is asked for: the parsers of the others would take most of the time to start."""
        every = LightningCLI.subcommands()
        return {name: skipped for name, skipped in every.items() if name in self._asked} or every

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Callbacks with defaults of their own, and links."""
        parser.add_lightning_class_args(EvaluationCallback, "evaluation")
        parser.add_lightning_class_args(PicturesCallback, "pictures")
        parser.add_lightning_class_args(ThresholdCallback, "thresholds")
        parser.add_lightning_class_args(PredictionWriter, "predictions")
        parser.add_lightning_class_args(ResumeCheckpoint, "checkpoint")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)
        parser.link_arguments(
            "model", "data.image_size", compute_fn=_image_size, apply_on="instantiate"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and say what is wrong with an option in one sentence.

        Raises:
            ConfigError: An option is unknown or has a wrong value.
        """
        try:
            super().parse_arguments(parser, args)
        except argparse.ArgumentError as error:
            command = next((name for name in self._asked if name in self.subcommands()), "fit")
            raise ConfigError(_plainly(str(error), command)) from None

    def before_instantiate_classes(self) -> None:
        """Settle what depends on the device."""
        options = self.config[self.subcommand].trainer if self.subcommand else self.config.trainer
        kind = options.accelerator
        if kind in ("auto", "gpu"):
            kind = accelerator().type
        if options.precision is None:
            options.precision = default_precision(kind, self._calibrated_in)
        if kind == "cpu":  # which cannot do it
            options.sync_batchnorm = False

    def instantiate_classes(self) -> None:
        """Build trainer, model and data; errors of padseg come as they are, not as the parser wraps them."""
        try:
            super().instantiate_classes()
        except Exception as error:
            told: BaseException | None = error
            while told is not None and not isinstance(
                told, PadsegError | MisconfigurationException
            ):
                told = told.__cause__ or told.__context__
            if told is None:
                raise
            if isinstance(told, MisconfigurationException):  # of one of Lightning's callbacks
                text = " ".join(str(told).split())
                raise ConfigError(f"--checkpoint or --trainer.callbacks: {text}") from None
            raise told from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lightning's Trainer; its default bar gives way to one that counts steps.

        Raises:
            ConfigError: An option cannot be used here, or torchrun or srun has started several processes,
                of which none knows of the others.
        """
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            raise ConfigError(f"--trainer: {' '.join(str(error).split())}") from None
        started = int(os.environ["WORLD_SIZE"]) if TorchElasticEnvironment.detect() else 1
        if started > 1 and trainer.world_size == 1:
            raise ConfigError(
                f"torchrun has started {started} processes, each would train alone: pass --trainer.devices "
                f"{os.environ.get('LOCAL_WORLD_SIZE', started)} --trainer.strategy ddp, and "
                "--trainer.num_nodes for several machines."
            )
        # Several of `run` or of a sweep's agent may be meant: each has work of its own.
        alone = self.subcommand == "fit" and "WANDB_SWEEP_ID" not in os.environ
        tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) if SLURMEnvironment.detect() else 1
        if alone and tasks > 1 and trainer.world_size == 1:
            raise ConfigError(
                f"srun has started {tasks} processes, each would train alone: pass --trainer.devices N for "
                "the N of them on each machine, --trainer.num_nodes for several machines, and "
                "--trainer.strategy ddp; or start one."
            )
        bar = trainer.progress_bar_callback
        if type(bar) is RichProgressBar:
            callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
            callbacks[callbacks.index(bar)] = StepBar()
        stop_together(trainer)
        return trainer

    def before_test(self) -> None:
        """Score trained weights only: those that the modules are built with are none."""
        self.model.complete = False

    before_validate = before_test
    before_predict = before_test

    def predict(self, **arguments: Any) -> None:
        """`Trainer.predict`, whose score maps go to files and not to memory."""
        self.trainer.predict(**{**arguments, "return_predictions": False})

    def _parse_ckpt_path(self) -> None:
        """Take the options of the checkpoint's module from the checkpoint.

        Raises:
            CheckpointError: It is of another class than the configuration.
            ConfigError: There is none to score with.
        """
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if not path and subcommand in _SCORING:
            raise ConfigError(_NO_CHECKPOINT.format(subcommand))
        if not path or path in ("best", "last", "hpc", "registry"):
            return
        header = read_header(path)
        if subcommand in _SCORING and header.calibration is not None:
            self._calibrated_in = header.calibration.precision
        configured = self.config[subcommand].model
        name = configured.class_path.rpartition(".")[-1]
        if header.class_name != name:
            raise CheckpointError(
                f"--ckpt_path {path} is a checkpoint of {header.class_name}, the configured model "
                f"is {name}: the hand-off between the phases is --model.distilled."
            )
        for key, value in header.hyper_parameters.items():
            asked = plain(configured.init_args.get(key))
            if key == "image_size" and isinstance(asked, int):
                asked = [asked, asked]
            # What named the weights that training began with means nothing any more: they are in there.
            inside = key in ("distilled", "network") or value == STORED_WEIGHTS
            if key in self._typed and not inside and asked != plain(value):
                raise ConfigError(
                    f"--model.{key} is {asked}, but {path} was made with {value}: leave the option out."
                )
            # A training refuses other options than it began with; what nobody has set is as it was.
            if inside or subcommand != "fit" or asked is None:
                configured.init_args[key] = value


def _plainly(told: str, command: str) -> str:
    """What the parser says of an option, without the types that it tried for the whole model."""
    told = " ".join(told.split())
    if re.search(r"are required: .*\bmodel\b|class_path 'padseg.modules.AnomalyModule'", told):
        if command in _SCORING:
            return _NO_CHECKPOINT.format(command)
        return "--config is not set: name a recipe, such as configs/destseg/distill.yaml."
    about_model = told.startswith('Parser key "model"')
    for pattern, plain_words in _PLAIN_WORDS.items():
        told = re.sub(pattern, plain_words, told)
    more = "--model.help padseg.modules.StudentDistillModule" if about_model else "--help"
    return f"{told} (see padseg {command} {more})"


def _seed(given: int | bool) -> int:
    if isinstance(given, bool):  # Lightning would draw one after the data has been given another
        raise ConfigError("--seed_everything: give a number, which the data's draws depend on too.")
    check_seed("--seed_everything", given)
    return given


def _image_size(model: AnomalyModule) -> tuple[int, int]:
    return model.image_size


def complete_args(args: list[str]) -> list[str]:
    """Find the configurations that come with padseg, and let a checkpoint name its class.

    So `--config configs/destseg/distill.yaml` works in any folder, unless that has such a file itself, and
    `test --ckpt_path PATH` needs no configuration.

    Raises:
        ConfigError: A training would go on without the configuration it began with.
    """
    args = [_found(arg) for arg in args]
    options = [arg.split("=", maxsplit=1) for arg in args]
    names = [option[0] for option in options]
    if "--ckpt_path" not in names or "--config" in names or "-c" in names or "--model" in names:
        return args
    at = names.index("--ckpt_path")
    path = options[at][1] if len(options[at]) == 2 else (args[at + 1 :] or [""])[0]
    if args[0] == "fit":
        raise ConfigError(
            "--config is not set: a checkpoint holds the model and no recipe; fit goes on with the command "
            "it began with and --ckpt_path beside it."
        )
    if not Path(path).suffix:
        return args
    # First, as options of the model are read by its class.
    return [args[0], "--model", f"padseg.modules.{read_header(path).class_name}", *args[1:]]


def _found(arg: str) -> str:
    option, equals, name = arg.rpartition("=")
    path = shipped(name) if option in ("", "--config") else None
    return arg if path is None or Path(name).exists() else f"{option}{equals}{path}"


@contextmanager
def told_to_stop(how_to_resume: str | None = None) -> Iterator[None]:
    """End the process with a message and status 1, after a SIGTERM too, where Lightning would end with 0.

    Args:
        how_to_resume: What the message says; None for the checkpoint that a training has left, if it has.
    """
    try:
        yield
    except SIGTERMException as stop:
        told = f"padseg: stopped by SIGTERM; {how_to_resume or _how_to_resume(stop)}."
        raise SystemExit(told) from stop
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):  # which Lightning turns into this
            raise
        told = f"padseg: interrupted; {how_to_resume or _how_to_resume(end.__context__)}."
        raise SystemExit(told) from end


def _how_to_resume(stop: BaseException) -> str:
    """By what `ResumeCheckpoint` has left with the exception."""
    if not stop.args:
        return "start it again"
    return f"the same command with --ckpt_path {stop.args[0]} goes on from there"


def main(args: list[str]) -> None:
    """Run a Lightning subcommand."""
    with told_to_stop():
        PadsegCLI(complete_args(args))
