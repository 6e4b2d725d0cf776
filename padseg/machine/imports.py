"""Imports of large libraries."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imported_quickly() -> Iterator[None]:
    """A block that imports PyTorch and the like, without the garbage collector, from which it hides what they brought.

    It would go through half a million objects again and again, and once more at the exit, and they all stay.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
