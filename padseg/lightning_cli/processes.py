"""Processes that a launcher has started, and that would each train alone."""

import os

from lightning import Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from padseg.errors import ConfigError


def refuse_lone_processes(trainer: Trainer, command: str | None) -> None:
    """Refuse a Trainer of one process where a launcher has started several.

    Args:
        trainer: As the options describe it.
        command: The Lightning subcommand; None for another caller, each of whose processes may have work
            of its own.

    Raises:
        ConfigError: torchrun or srun has started several processes, none of which knows of the others.
    """
    if trainer.world_size > 1:
        return
    started = int(os.environ["WORLD_SIZE"]) if TorchElasticEnvironment.detect() else 1
    if started > 1:
        raise ConfigError(
            f"torchrun has started {started} processes, each would train alone: pass --trainer.devices "
            f"{os.environ.get('LOCAL_WORLD_SIZE', started)} --trainer.strategy ddp, and "
            "--trainer.num_nodes for several machines."
        )
    # Those of a sweep's agents have work of their own too.
    fits_once = command == "fit" and "WANDB_SWEEP_ID" not in os.environ
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) if SLURMEnvironment.detect() else 1
    if fits_once and tasks > 1:
        raise ConfigError(
            f"srun has started {tasks} processes, each would train alone: pass --trainer.devices N for "
            "the N of them on each machine, --trainer.num_nodes for several machines, and "
            "--trainer.strategy ddp; or start one."
        )
