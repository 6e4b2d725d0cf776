"""Refuse more processes than there are cores, and processes that a launcher started to train alone."""

import os

from lightning import Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.accelerators import CPUAccelerator

from padseg.errors import ConfigError, count


def refuse_too_many_processes(trainer: Trainer) -> None:
    """Reject, with a ConfigError, a Trainer with more processes, each with a network, than the machine has cores."""
    cores = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > cores:
        raise ConfigError(
            f"--trainer.devices is {trainer.num_devices}, which on CPUs is a number of processes; this machine "
            f"has {count(cores, 'core')}: give {cores} at most."
        )


def refuse_lone_processes(trainer: Trainer, command: str | None) -> None:
    """Reject a Trainer for one process if a launcher has started several.

    Args:
        trainer: The Trainer that the options describe.
        command: The Lightning subcommand; None for other callers, whose processes may each have different
            work.

    Raises:
        ConfigError: torchrun or srun has started several independent processes.
    """
    if trainer.world_size > 1:
        return
    started = int(os.environ["WORLD_SIZE"]) if TorchElasticEnvironment.detect() else 1
    if started > 1:
        raise ConfigError(
            f"torchrun has started {started} processes, each of which would train alone: pass --trainer.devices "
            f"{os.environ.get('LOCAL_WORLD_SIZE', started)} --trainer.strategy ddp, and "
            "--trainer.num_nodes for several machines."
        )
    # The agents of a sweep have different work, too.
    fits_once = command == "fit" and "WANDB_SWEEP_ID" not in os.environ
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) if SLURMEnvironment.detect() else 1
    if fits_once and tasks > 1:
        raise ConfigError(
            f"srun has started {tasks} processes, each of which would train alone: pass --trainer.devices N for "
            "the N of them on each machine, --trainer.num_nodes for several machines, and "
            "--trainer.strategy ddp; or start one."
        )
