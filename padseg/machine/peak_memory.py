"""The peak memory of a training."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of the GPU or, on Linux, of the process; elsewhere it can only grow."""
    if device.type == "cuda":
        # Before CUDA is initialised, nothing has been allocated.
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):  # some containers do not allow this
            (_PROCESS / "clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float | None:
    """The peak in MiB, of the GPU or else of the process; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    if sys.platform == "linux" and (peak := _peak_in_proc()) is not None:
        return peak
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def highest_peak(*peaks: float | None) -> float | None:
    """The highest of some peaks, of which some may be unknown."""
    return max((peak for peak in peaks if peak is not None), default=None)


def _peak_in_proc() -> float | None:
    """The peak in MiB; Linux's `getrusage` would include the peak of the parent process."""
    for line in (_PROCESS / "status").read_text().splitlines():
        name, *words = line.split()
        if name == "VmHWM:":
            return int(words[0]) / 2**10
    return None
