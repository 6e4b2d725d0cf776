"""Work in threads that run ahead of the consumer, within limits."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, by Linux's control groups


def usable_cores() -> int:
    """Number of cores that this process may use, which a scheduler or a container can limit."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # none, or "max"
        return cores


def map_in_threads(
    function: Callable[[Input], Output],
    items: Iterable[Input],
    most_waiting: int | None = None,
    weigh: Callable[[Input], float] = lambda item: 0,
    most_weight: float = 0,
) -> Iterator[Output]:
    """Map with one thread per core; the results come in the order of the items.

    Items are taken and results computed ahead of time only as far as the limits allow.

    Args:
        function: What to do with an item.
        items: The items.
        most_waiting: Number of results that may wait to be used (default: 4 per core).
        weigh: The weight of an item's result, such as its bytes.
        most_weight: Total weight of waiting results, unless a single one weighs more.
    """
    threads = usable_cores()
    pending: deque[tuple[Future[Output], float]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                weight = weigh(item)
                while pending and sum(other for _, other in pending) + weight > most_weight:
                    yield pending.popleft()[0].result()
                pending.append((pool.submit(function, item), weight))
                if len(pending) == (most_waiting or 4 * threads):
                    yield pending.popleft()[0].result()
            while pending:
                yield pending.popleft()[0].result()
        finally:
            for future, _ in pending:
                future.cancel()
