"""The most memory that this process has used."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


def reset_peak_memory(device: torch.device) -> None:
    """Count anew: a GPU's memory, or the process's on Linux; elsewhere the latter can only grow."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):  # some containers do not let processes do so
            (_PROCESS / "clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float | None:
    """Of the GPU, or of the process, in MiB; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    if (
        sys.platform == "linux"
    ):  # whose getrusage counts the peak of the process that started this one
        for line in (_PROCESS / "status").read_text().splitlines():
            name, *words = line.split()
            if name == "VmHWM:":
                return int(words[0]) / 2**10
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
