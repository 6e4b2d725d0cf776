"""Ways to start several processes that lose what a training learns besides weights."""

from lightning import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from padseg.errors import ConfigError


def refuse_copied_processes(trainer: Trainer) -> None:
    """Reject strategies that train in copies of this process, of which Lightning returns the weights alone.

    Raises:
        ConfigError: The Trainer has such a strategy.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            "ddp_spawn, ddp_fork and ddp_notebook train in copies of the process, which lose the thresholds and the "
            "position in the data: use --trainer.strategy ddp, or one device in a notebook."
        )
