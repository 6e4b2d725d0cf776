"""Runs padseg in processes that start at once: python zygote.py FOLDER. Not a test by itself.

Each line on stdin is a JSON list, the arguments of a command; a process is forked for it. Answered with a
line that holds its process id and, when it has ended, a line with its exit status, negative for a signal.
The process appends a byte to FOLDER/steps for each optimiser step and to FOLDER/tested for each test
batch. When the file FOLDER/die is there, it is removed, and the process kills itself in the middle of
its next checkpoint.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path

import torch

import padseg.machine.files
from padseg.cli import main
from padseg.modules import AnomalyModule


def observe(folder: Path) -> None:
    """Let the process tell what it does."""

    def after(name, function):
        def wrapped(*args, **kwargs):
            result = function(*args, **kwargs)
            with (folder / name).open("ab") as file:
                file.write(b".")
            return result

        return wrapped

    torch.optim.SGD.step = after("steps", torch.optim.SGD.step)
    AnomalyModule.test_step = after("tested", AnomalyModule.test_step)
    fsync = os.fsync

    def dying_fsync(descriptor):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name.endswith(".ckpt.part") and (folder / "die").exists():
            (folder / "die").unlink()
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    padseg.machine.files.os.fsync = dying_fsync


def run(arguments: list[str], folder: Path) -> None:
    """What the forked process does; it never returns."""
    status = 1
    try:
        log = (folder / "log").open("w")
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        observe(folder)
        status = main(arguments)
    except SystemExit as end:
        sys.stderr.write(str(end.code))
    except Exception:
        logging.getLogger("zygote").exception("not expected")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked process has no threads but its own
    import padseg.run.experiment

    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            run(json.loads(line), Path(sys.argv[1]))
        os.write(1, f"{pid}\n".encode())
        os.write(1, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
