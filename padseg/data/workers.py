"""Data worker processes: how many are useful, and whether they share memory."""

import multiprocessing
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2

from padseg.data.images import Size
from padseg.errors import ConfigError
from padseg.machine.threads import usable_cores
from padseg.plugins import load_plugin

_MOST_PER_CORE = 16  # processes, each of which takes several hundred MiB
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps what workers pass on


def default_workers(size: Size, batch_size: int, processes: int = 1) -> int:
    """The number of useful worker processes, limited by the shared memory for their batches.

    Args:
        size: (H, W) of an image in pixels.
        batch_size: Images per batch, each with a texture.
        processes: Number of processes that train together on this machine, each with as many workers.
            The runs of `--parallel` (`PADSEG_PARALLEL` in the environment) share the machine as well.
    """
    share = processes * int(os.environ.get("PADSEG_PARALLEL", "1"))
    # Decoded images are cached, so with up to two cores a worker process costs more than it saves.
    workers = min(8, max(0, usable_cores() // share - 2))
    if workers and _SHARED_MEMORY.is_dir():
        # Two batches wait for each worker's turn and one is being used; in a validation, those of the
        # training still wait. Bytes a pixel: image, texture and mask, and then image, mask and regions.
        batch = (3 + 3 + 4 + 3 + 1 + 4) * size[0] * size[1] * batch_size
        workers = min(workers, shutil.disk_usage(_SHARED_MEMORY).free // (3 * batch * share))
    return workers


def check_workers(workers: int | None) -> None:
    """Reject a number of worker processes that is negative, or that would fill any memory.

    Raises:
        ConfigError: As above.
    """
    most = _MOST_PER_CORE * (os.cpu_count() or 1)
    if workers is not None and not 0 <= workers <= most:
        raise ConfigError(
            f"--data.num_workers is {workers}; on this machine it must be from 0 to {most}."
        )


def forks() -> bool:
    """Whether worker processes share the memory of this one."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return (chosen or multiprocessing.get_all_start_methods()[0]) == "fork"


def start_worker(plugins: Sequence[str], worker_id: int) -> None:
    """Keep OpenCV from starting a thread per core in every worker, and import the plugins.

    Args:
        plugins: Those of the process that starts the worker; a spawned worker has imported none.
        worker_id: Number of the worker, which PyTorch passes.
    """
    cv2.setNumThreads(0)
    for name in plugins:
        load_plugin(name)
