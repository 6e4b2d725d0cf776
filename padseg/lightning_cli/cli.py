"""The Lightning CLI behind `fit`, `validate`, `test` and `predict`, and behind `run`."""

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins import CheckpointIO

from padseg.callbacks import (
    CompileCallback,
    EvaluationCallback,
    PicturesCallback,
    ResumeCheckpoint,
    StepBar,
    StepLines,
    StopTogether,
    ThresholdCallback,
)
from padseg.data import AnomalyDataModule
from padseg.errors import ConfigError, PadsegError
from padseg.inference.writer import PredictionWriter
from padseg.lightning_cli.amounts import build_trainer, refuse_zeros
from padseg.lightning_cli.arguments import (
    CHECKPOINT_KEYWORDS,
    complete_args,
    not_a_path,
    take_from_checkpoint,
)
from padseg.lightning_cli.earlier_files import protect_earlier_files
from padseg.lightning_cli.interrupts import exit_when_interrupted
from padseg.lightning_cli.nulls import refuse_nulls
from padseg.lightning_cli.option_errors import causes, options_explained
from padseg.lightning_cli.processes import refuse_lone_processes, refuse_too_many_processes
from padseg.lightning_cli.wording import in_plain_words, missing_checkpoint, nearest_option
from padseg.machine.console import print_figures
from padseg.machine.files import expanded
from padseg.machine.precision import accelerator, default_precision
from padseg.machine.progress import shows_bars
from padseg.models import SYSTEMS
from padseg.modules import AnomalyModule, read_header
from padseg.modules.checkpoint import AtomicCheckpointIO, require_system
from padseg.modules.expected_warnings import ignore_expected_warnings
from padseg.modules.launchers import refuse_lossy_training, refuse_shards
from padseg.modules.sync_batch_norm import LOCAL_FROM
from padseg.names import SCORING_COMMANDS
from padseg.options import check_seed
from padseg.plugins import PLUGIN_HELP, load_plugin
from padseg.synthesis import SynthesisParams

# Lightning 2.6 uses what jsonargparse has deprecated; users cannot change that.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


def main(args: list[str]) -> None:
    """Run a Lightning subcommand."""
    with exit_when_interrupted(), options_explained():
        PadsegCLI(complete_args(args))


class _SaveConfig(SaveConfigCallback):
    """Lightning's callback, if the logger gives each run a folder; otherwise runs would share one config.yaml."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if isinstance(trainer.logger, CSVLogger | TensorBoardLogger):
            super().setup(trainer, pl_module, stage)


class PadsegCLI(LightningCLI):
    """Lightning's CLI with padseg's modules, data and callbacks.

    Two options are linked, so that each is given once: the seed of the run is the seed of the data's draws,
    and the data takes the image size of the model.

    Args:
        args: The command line, or a dict or Namespace of options; None for the command line of the process.
        run: False to build only trainer, model and data.
        callbacks: Further callbacks of the Trainer, after those of the command line.
        title: What is trained, for the progress bar.
        bars: Whether progress may be shown as a bar; else, as without a terminal, as lines.
    """

    # Precision of the thresholds in the checkpoint.
    _calibrated_in: str | None = None
    # The model's options of a training that resumes, before they become those of the checkpoint.
    _given_model: Namespace | None = None

    def __init__(
        self,
        args: ArgsType = None,
        run: bool = True,
        callbacks: Sequence[Callback] = (),
        title: str = "",
        bars: bool = True,
    ) -> None:
        self._progress = StepBar(title) if bars and shows_bars() else StepLines(title)
        ignore_expected_warnings()
        # A short training logs its losses anyway.
        warnings.filterwarnings("ignore", message="The number of training batches")
        args = sys.argv[1:] if args is None else args
        words = args if isinstance(args, list) else [str(args.get("subcommand", ""))]
        self._first_arg = words[0] if words else ""
        options = (word.partition("=")[0] for word in words)
        self._given_of_model = {
            name.rpartition(".")[2] for name in options if name.startswith("--model.")
        }
        super().__init__(
            AnomalyModule,
            AnomalyDataModule,
            trainer_class=build_trainer,
            subclass_mode_model=True,
            seed_everything_default=0,
            save_config_callback=_SaveConfig,
            save_config_kwargs={"overwrite": True},  # a resumed run overwrites it
            trainer_defaults={
                "callbacks": [StopTogether(), *callbacks],
                "precision": None,  # see `before_instantiate_classes`
                # Several devices sum their losses over as many batches: another recipe, so only on demand.
                "devices": 1,
                "max_epochs": -1,
                "max_steps": 1000,
                "check_val_every_n_epoch": None,
                "val_check_interval": 500,
                "num_sanity_val_steps": 0,
                # The data module shards the data itself, without the duplicates of padding.
                "use_distributed_sampler": False,
                # Where a device sees few images; see `before_instantiate_classes`.
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
        """Only the subcommand that is called: the parsers of the others would take most of the start-up time."""
        every = LightningCLI.subcommands()
        called = self._first_arg
        return {called: every[called]} if called in every else every

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Callbacks with padseg's defaults, and links."""
        parser.add_argument("--plugin", type=str | None, default=None, help=PLUGIN_HELP)
        parser.add_lightning_class_args(EvaluationCallback, "evaluation")
        parser.add_lightning_class_args(PicturesCallback, "pictures")
        parser.add_lightning_class_args(ThresholdCallback, "thresholds")
        parser.add_lightning_class_args(CompileCallback, "compile")
        parser.add_lightning_class_args(PredictionWriter, "predictions")
        parser.add_lightning_class_args(ResumeCheckpoint, "checkpoint")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)
        parser.link_arguments("model.image_size", "data.image_size", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and report a wrong option in one sentence.

        Lightning's method would warn about arguments that differ from those of the process, as completed
        ones always do.

        Raises:
            ConfigError: An option is unknown or has a wrong value.
        """
        try:
            parse = parser.parse_args if isinstance(args, list) else parser.parse_object
            self.config = parse(args)
        except argparse.ArgumentError as error:
            command = self._first_arg if self._first_arg in self.subcommands() else "fit"
            said = in_plain_words(str(error), command)
            parsers = getattr(self, "_subcommand_parsers", {})
            options = parsers.get(command, parser)._option_string_actions
            raise ConfigError(said + nearest_option(said, options)) from None
        command = self.config.get("subcommand")
        options = self.config[command] if command else self.config
        load_plugin(options.plugin)
        if options.model is not None:
            refuse_nulls("model", resolve_name(options.model.class_path), options.model.init_args)
        if synthesis := options.data.synthesis:
            given = synthesis.get("init_args", synthesis)
            refuse_nulls("data.synthesis", SynthesisParams, given)

    def _parse_ckpt_path(self) -> None:
        """Read the options of the module from the checkpoint.

        Raises:
            CheckpointError: It is of another class than the configuration.
            ConfigError: There is no checkpoint to score with.
        """
        command = self.config.get("subcommand")
        if command is None:
            return
        path = self.config[command].get("ckpt_path")
        if path is None and command in SCORING_COMMANDS:
            raise ConfigError(missing_checkpoint(command))
        if path == "":
            raise ConfigError(not_a_path(path))
        if path is None or path in CHECKPOINT_KEYWORDS:
            return
        path = self.config[command].ckpt_path = str(expanded(path))
        header = read_header(path)
        require_system(header, f"--ckpt_path {path}")
        if command in SCORING_COMMANDS and header.calibration is not None:
            self._calibrated_in = header.calibration.precision
        data = self.config[command].data
        if command == "validate" and data.textures is None and not SYSTEMS[header.system].synthetic:
            data.synthesis = None  # nor did the training need any
        model = self.config[command].model
        if command == "fit":
            self._given_model = model.clone()
        take_from_checkpoint(model, path, header, command, self._given_of_model)

    def before_instantiate_classes(self) -> None:
        """Set the options that depend on the device."""
        options = self._get(self.config, "trainer")
        refuse_zeros(options, self.subcommand)
        if options.get("enable_checkpointing") is False:
            raise ConfigError(
                "--trainer.enable_checkpointing is false, but checkpoints are always on, as trainings resume from them: "
                "leave it out."
            )
        kind = options.accelerator
        if kind in ("auto", "gpu"):
            kind = accelerator().type
        if options.precision is None:
            options.precision = default_precision(kind, self._calibrated_in)
        few = self._get(self.config, "data").batch_size < LOCAL_FROM
        options.sync_batchnorm &= few and kind != "cpu"  # which does not support it
        trains = self.subcommand in (None, "fit")
        if kind == "cuda" and trains and options.benchmark is None and not options.deterministic:
            options.benchmark = True  # of cuDNN's algorithms, since all steps have the same sizes

    def instantiate_classes(self) -> None:
        """Build trainer, model and data; errors of padseg and Lightning are not wrapped by the parser."""
        try:
            super().instantiate_classes()
        except Exception as error:
            told = (PadsegError, MisconfigurationException)
            cause = next((one for one in causes(error) if isinstance(one, told)), None)
            if cause is None:
                raise
            raise cause from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lightning's Trainer. Unless others are configured, its bar counts steps and checkpoints are written whole.

        Raises:
            ConfigError: An option cannot be used here, or a launcher has started several independent
                processes.
        """
        if self._given_model is not None:
            # The model is built, and config.yaml is to begin the same training again.
            self.config["fit"].model = self._given_model
        options = self._get(self.config_init, "trainer")
        callbacks = _as_list(options.callbacks)
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if options.enable_progress_bar is not False and not has_bar:
            callbacks.append(self._progress)
        plugins = _as_list(options.plugins)
        own = getattr(options.strategy, "_checkpoint_io", None)
        if own is None and not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        with options_explained():
            trainer = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        refuse_too_many_processes(trainer)
        refuse_lone_processes(trainer, self.subcommand)
        refuse_shards(trainer)
        if self.subcommand in (None, "fit"):
            refuse_lossy_training(trainer)
        if not self.model.automatic_optimization:
            _refuse_gradient_options(trainer)
        return trainer

    def before_fit(self) -> None:
        """Leave the files of other trainings as they are."""
        protect_earlier_files(self.trainer, "fit", self._get(self.config, "ckpt_path"))

    def before_test(self) -> None:
        """Score no weights but trained ones, and leave the files of other trainings as they are."""
        self.model.complete = False
        protect_earlier_files(self.trainer, str(self.subcommand), None)

    before_validate = before_test
    before_predict = before_test

    def test(self, verbose: bool = True, **arguments: Any) -> None:
        """`Trainer.test`, with figures that fit any terminal."""
        self._print(verbose, self.trainer.test(**arguments, verbose=False))

    def validate(self, verbose: bool = True, **arguments: Any) -> None:
        """`Trainer.validate`, with figures that fit any terminal."""
        self._print(verbose, self.trainer.validate(**arguments, verbose=False))

    def _print(self, verbose: bool, results: Sequence[Mapping[str, float]]) -> None:
        if verbose and self.trainer.is_global_zero:
            rows = [(name, f"{value:.7g}") for each in results for name, value in each.items()]
            print_figures(f"padseg {self.subcommand}", ("figure", "value"), sorted(rows))

    def predict(self, **arguments: Any) -> None:
        """`Trainer.predict`, with score maps written to files instead of kept in memory."""
        self.trainer.predict(**{**arguments, "return_predictions": False})


def _as_list(given: Any) -> list[Any]:
    given = given or []
    return [*given] if isinstance(given, list) else [given]


def _seed(given: int | bool) -> int:
    if isinstance(given, bool):  # Lightning would draw one after the data has received another
        raise ConfigError("--seed_everything: give a number; the data's draws depend on it, too.")
    check_seed("--seed_everything", given)
    return given


def _refuse_gradient_options(trainer: Trainer) -> None:
    """Lightning refuses them too, but advises to change the module."""
    if trainer.accumulate_grad_batches > 1 or trainer.gradient_clip_val:
        raise ConfigError(
            "--trainer.accumulate_grad_batches and --trainer.gradient_clip_val are about gradients, which this "
            "phase does not have: leave them out."
        )
