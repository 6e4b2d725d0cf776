"""Samplers, which determine the samples of each process and their order."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DistributedSampler


class CountedSampler(DistributedSampler[Any]):
    """The numbers of the samples that this process trains on, batch by batch.

    In step t, all processes together take the samples [t * W * B, (t + 1) * W * B), and process r of W
    takes the r-th B of them. So several devices see the same samples as one device with the summed batch.
    The Trainer does not replace it, because it is a `DistributedSampler`.

    Args:
        start: The first sample: 0, or where a resumed run stopped.
        stop: Where the stage ends; None for never.
        batch_size: B, on each process.
        num_replicas: W.
        rank: r.
        behind: Batches of this process before `start`, which may have had another size.
    """

    def __init__(
        self,
        start: int,
        stop: int | None,
        batch_size: int,
        num_replicas: int,
        rank: int,
        behind: int = 0,
    ) -> None:
        super().__init__(range(0), num_replicas, rank)  # type: ignore[arg-type]
        self.start = start
        self.stop = stop
        self.batch_size = batch_size
        self.behind = behind

    def __iter__(self) -> Iterator[int]:
        first = self.start + self.rank * self.batch_size
        while self.stop is None or first < self.stop:
            yield from range(first, first + self.batch_size)
            first += self.num_replicas * self.batch_size

    def __len__(self) -> int:
        """Batches of the whole stage, including those before a resume, as Lightning counts them."""
        if self.stop is None:
            raise TypeError("an endless stream has no length")
        return self.behind * self.batch_size + (self.stop - self.start) // self.num_replicas


class ShardSampler(DistributedSampler[Any]):
    """Every W-th sample of a finite set, without the duplicates that padding would add."""

    def __init__(self, dataset: Any, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=False)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]
