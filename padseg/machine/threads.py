"""Work in threads, a bounded distance ahead of who uses the results."""

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


def ahead(
    function: Callable[[Input], Output],
    items: Iterable[Input],
    count: int | None = None,
    weigh: Callable[[Input], float] = lambda item: 0,
    most: float = 0,
) -> Iterator[Output]:
    """Map in a thread a core, in order.

    Args:
        function: What to do with an item.
        items: The items.
        count: The most results that wait (default: 4 a core).
        weigh: What the result of an item weighs.
        most: What all that wait may weigh together, unless one alone weighs more.
    """
    threads = usable_cores()
    pending: deque[tuple[Future[Output], float]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                weight = weigh(item)
                while pending and sum(other for _, other in pending) + weight > most:
                    yield pending.popleft()[0].result()
                pending.append((pool.submit(function, item), weight))
                if len(pending) == (count or 4 * threads):
                    yield pending.popleft()[0].result()
            while pending:
                yield pending.popleft()[0].result()
        finally:
            for future, _ in pending:
                future.cancel()
