"""Strategies and callbacks of Lightning with which the result of a training would be lost or incomplete."""

from lightning import Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from padseg.errors import ConfigError
from padseg.modules.trainer_parts import callbacks_of


def refuse_shards(trainer: Trainer) -> None:
    """Reject strategies that spread the weights over the devices, so that no process has those of a checkpoint.

    Raises:
        ConfigError: The Trainer has such a strategy.
    """
    if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        raise ConfigError(
            f"--trainer.strategy is {type(trainer.strategy).__name__}, which spreads the weights over the devices; a "
            "checkpoint would lack some: use ddp."
        )


def refuse_lossy_training(trainer: Trainer) -> None:
    """Reject a Trainer that would lose what it learns.

    Raises:
        ConfigError: It trains in copies of this process, of which Lightning returns the weights alone, or it
            averages weights at the starts of epochs.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            "ddp_spawn, ddp_fork and ddp_notebook train in copies of the process, which lose the thresholds and the "
            "position in the data: use --trainer.strategy ddp, or one device in a notebook."
        )
    if callbacks_of(trainer, StochasticWeightAveraging):
        raise ConfigError(
            "StochasticWeightAveraging averages the weights that each epoch begins with, but the stream of samples is a "
            "single epoch, so the initial ones would remain: use EMAWeightAveraging or WeightAveraging."
        )


def refuse_averages(trainer: Trainer, title: str) -> None:
    """Reject callbacks that average weights, for a phase whose student is a memory: they would average what it remembers.

    Raises:
        ConfigError: It has such a callback.
    """
    for callback in callbacks_of(trainer, StochasticWeightAveraging, WeightAveraging):
        raise ConfigError(
            f"{type(callback).__name__}: {title}'s first phase has no weights to average; use EMAWeightAveraging or "
            "WeightAveraging in its second phase."
        )
