"""A student that remembers normal features, as PatchCore does (Roth et al., CVPR 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from padseg.models.memory import Memory


class MemoryStudent(nn.Module):
    """Finds the nearest normal features.

    Args:
        channels: channels of the levels of each source.
        size: entries of each memory.

    Attributes:
        memories: one for each source.
        candidates: what each step has collected, until the entries are chosen: for each source, vectors (n, C)
            and the numbers of their images (n,).
    """

    def __init__(self, channels: Sequence[Sequence[int]], size: int) -> None:
        super().__init__()
        self.channels = channels
        self.memories = nn.ModuleList(Memory(size, sum(of)) for of in channels)
        self.candidates: list[Sequence[tuple[Tensor, Tensor]]] = []

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

    def forget(self) -> None:
        """Empty the memories, for another training; the candidates stay."""
        for memory in self.memories:
            memory.get_buffer("image").fill_(-1)

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
