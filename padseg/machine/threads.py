"""Work in threads, a bounded distance ahead of the one who uses the results."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")


def usable_cores() -> int:
    """Cores that this process may run on, which a scheduler can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_threads(
    function: Callable[[Input], Output],
    items: Iterable[Input],
    most_waiting: int | None = None,
    weigh: Callable[[Input], float] = lambda item: 0,
    most_weight: float = 0,
) -> Iterator[Output]:
    """Map with a thread a core; the results come in the order of the items.

    Items are taken, and results made, only so far ahead as the limits allow.

    Args:
        function: What to do with an item.
        items: The items.
        most_waiting: Results that may wait to be used (default: 4 a core).
        weigh: The weight of an item's result, such as its bytes.
        most_weight: What all results that wait may weigh together, unless one alone weighs more.
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
