"""A student that remembers normal features, and how far other normal ones are from them.

The memory is that of PatchCore (Roth et al., CVPR 2022). What is usual at each place comes from PaDiM (Defard et
al., 2021), which models the features there; here only their distance is modelled.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from padseg.models.layers import smooth_to
from padseg.models.memory import Memory

GRID = 64  # places in a row and in a column of an image
_SMOOTH = 1.0  # standard deviation, in places
_LEAST_DEVIATION = 0.1  # of a logarithm


class MemoryStudent(nn.Module):
    """Finds the nearest normal features, and knows the usual distance to them at each place.

    Args:
        channels: channels of the levels of each source.
        size: entries of each memory.

    Attributes:
        memories: one for each source.
        count: number of images from which the distances were measured.
        mean: of the logarithmic distance of normal images at each place, (levels, 64, 64).
        moment: sum of the squared deviations from `mean`, alike.
        candidates: what each step has collected for each source, until the entries are chosen.
    """

    count: Tensor
    mean: Tensor
    moment: Tensor

    def __init__(self, channels: Sequence[Sequence[int]], size: int = 2000) -> None:
        super().__init__()
        self.channels = channels
        self.memories = nn.ModuleList(Memory(size, sum(of)) for of in channels)
        levels = sum(len(of) for of in channels)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(levels, GRID, GRID))
        self.register_buffer("moment", torch.zeros(levels, GRID, GRID))
        self.candidates: list[Sequence[tuple[Tensor, Tensor]]] = []
        self._filled = False

    @property
    def filled(self) -> bool:
        """Whether the entries have been chosen; the device is asked only until they have."""
        if not self._filled and not self.candidates:
            self._filled = all(bool(memory.get_buffer("image")[0] >= 0) for memory in self.memories)
        return self._filled

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._filled = False
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, keys: Sequence[Tensor], own: Tensor | None = None) -> list[Tensor]:
        """The nearest features of normal images.

        Args:
            keys: for each source, vectors (B, C, h, w).
            own: see Memory.

        Returns:
            The levels of all sources, (B, C_k, h_k, w_k).
        """
        levels: list[Tensor] = []
        for memory, channels, key in zip(self.memories, self.channels, keys, strict=True):
            levels += memory(key, own).split(list(channels), dim=1)
        return levels

    def usual(self) -> Tensor:
        """Mean and deviation of the logarithmic distance of normal images, (2, levels, 64, 64)."""
        variance = self.moment / (self.count - 1).clamp(min=1)
        mean, variance = (
            smooth_to(x[None], (GRID, GRID), (_SMOOTH, _SMOOTH))[0] for x in (self.mean, variance)
        )
        return torch.stack([mean, variance.clamp(min=0).sqrt() + _LEAST_DEVIATION])

    def forget(self) -> None:
        """Empty the memories, for another training; the candidates stay."""
        for memory in self.memories:
            memory.get_buffer("image").fill_(-1)
        for statistic in (self.count, self.mean, self.moment):
            statistic.zero_()
        self._filled = False

    def collect(self, vectors: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Add candidates: vectors (n, C) and their images (n,) for each source."""
        self.candidates.append(vectors)

    def all_candidates(self) -> Sequence[tuple[Tensor, Tensor]]:
        """The candidates of each source, joined; none if there are none."""
        if len(self.candidates) > 1:
            device = self.candidates[-1][0][0].device  # those of a checkpoint are still on the CPU
            joined = [
                (
                    torch.cat([vectors.to(device) for vectors, _ in of]),
                    torch.cat([image.to(device) for _, image in of]),
                )
                for of in zip(*self.candidates, strict=True)
            ]
            self.candidates = [joined]
        return self.candidates[0] if self.candidates else []

    def choose(self) -> None:
        """Choose the entries of all memories from the candidates, which stay."""
        for memory, candidates in zip(self.memories, self.all_candidates(), strict=True):
            assert isinstance(memory, Memory)
            memory.choose(*candidates)

    @torch.no_grad()
    def measure(self, distances: Tensor) -> None:
        """Update the statistics with logarithmic distances of normal images, (B, levels, 64, 64).

        Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
        """
        more = len(distances)
        count = self.count + more
        shift = distances.mean(dim=0) - self.mean
        inside = (distances - distances.mean(dim=0)).square().sum(dim=0)
        self.moment += inside + shift.square() * (self.count * more / count)
        self.mean += shift * (more / count)
        self.count.copy_(count)
