"""Distribute the runs of several categories and seeds over this machine's GPUs or a Ray cluster.

A job is the argument of a function that does it and returns whether it succeeded; its `str` names it. Jobs share
only the folder to which they write, so any number of machines can work on them.
"""

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from padseg.errors import ConfigError
from padseg.machine.console import escape_output
from padseg.machine.threads import usable_cores

Job = TypeVar("Job")
Work = Callable[[Job], bool]
_log = logging.getLogger(__name__)


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` as (i, n).

    Raises:
        ConfigError: The text is not a shard.
    """
    words = text.split("/")
    if not (len(words) == 2 and all(word.isdecimal() for word in words)):
        raise ConfigError(f"--shard {text} does not have the form i/n, such as 1/4.")
    index, count = int(words[0]), int(words[1])
    if not 1 <= index <= count:
        raise ConfigError(f"--shard {text}: the first number must be from 1 to the second.")
    return index, count


def devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # imported late: the processes started here need it only with their job

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index in range(torch.cuda.device_count())]
    return named.split(",")[: torch.cuda.device_count()]


def in_processes(work: Work[Job], jobs: Sequence[Job], parallel: int) -> list[Job]:
    """Run jobs in separate processes, `parallel` at a time, each on one GPU if there are any.

    If a process dies, the others continue. If this one receives SIGTERM, so do they.

    Returns:
        The jobs that failed.
    """
    waiting, failed = list(jobs), []
    gpus = devices()
    free = [gpus[index % len(gpus)] if gpus else None for index in range(parallel)]
    running: dict[Any, tuple[BaseProcess, Job, str | None]] = {}
    with _stoppable():
        try:
            while waiting or running:
                while waiting and free:
                    process = _start(work, waiting[0], free[0], min(parallel, len(jobs)))
                    running[process.sentinel] = (process, waiting.pop(0), free.pop(0))
                for sentinel in connection.wait(list(running)):
                    process, job, gpu = running.pop(sentinel)
                    process.join()
                    free.append(gpu)
                    if process.exitcode:
                        failed.append(job)
                    if process.exitcode and process.exitcode < 0:
                        _log.error("%s: killed by signal %d.", job, -process.exitcode)
        finally:
            for process, _, _ in running.values():
                process.terminate()
            for process, _, _ in running.values():
                process.join()
    return failed


def _start(work: Work[Job], job: Job, gpu: str | None, parallel: int) -> BaseProcess:
    """Start a job in a new process, whose environment contains its share of the machine."""
    if gpu is None:
        share = {"OMP_NUM_THREADS": str(max(1, usable_cores() // parallel))} | os.environ
    else:
        share = os.environ | {"CUDA_VISIBLE_DEVICES": gpu}
    share = {"PADSEG_PARALLEL": str(parallel)} | share
    before = dict(os.environ)
    process = get_context("spawn").Process(target=_do_and_exit, args=(work, job))
    try:
        os.environ.update(share)
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return process


def _do_and_exit(work: Work[Job], job: Job) -> None:
    escape_output()
    raise SystemExit(0 if work(job) else 1)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the processes started here receive it as well."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit("padseg: stopped by SIGTERM; the same command resumes from here.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _do_beside(folder: str, work: Work[Job], job: Job) -> bool:
    """Do a job in a process that looks for plugins in the folder of the command, too."""
    if folder not in sys.path:
        sys.path.append(folder)
    return work(job)


def on_ray(work: Work[Job], jobs: Sequence[Job], address: str) -> list[Job]:
    """Run jobs as Ray tasks, one per GPU if the cluster has any, otherwise one per CPU.

    The cluster's machines must see the same files under the same absolute paths. Ray starts a job again
    when its machine is lost.

    Args:
        work: Does a job and returns whether it succeeded.
        jobs: The jobs.
        address: Address of the cluster; `auto` for the one this machine is part of, `local` to start one.

    Returns:
        The jobs that failed.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs Ray: python -m pip install 'padseg[ray]'.") from error
    try:
        ray.init(address=address, log_to_driver=True, include_dashboard=False)
    except ConnectionError as error:
        raise ConfigError(
            f"--ray {address}: no Ray cluster answers; start one with `ray start`, or pass --ray local."
        ) from error
    failed = []
    try:
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = 1 if resources.get("GPU") else 0
        # All runs on a machine share its cores and shared memory.
        nodes = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
        slots = resources["GPU" if gpus else "CPU"] / nodes
        share = {"PADSEG_PARALLEL": str(min(len(jobs), math.ceil(slots)))}
        task: Any = ray.remote(
            num_cpus=1, num_gpus=gpus, max_retries=3, runtime_env={"env_vars": share}
        )(_do_beside)
        running = {task.remote(str(Path.cwd()), work, job): job for job in jobs}
        while running:
            (done,), _ = ray.wait(list(running))
            job = running.pop(done)
            try:
                succeeded = ray.get(done)
            except ray.exceptions.RayError:
                _log.exception("%s failed.", job)
                succeeded = False
            if not succeeded:
                failed.append(job)
    finally:
        ray.shutdown()
    return failed
