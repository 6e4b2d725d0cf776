"""A memory of normal features: a coreset to choose its entries, the nearest one to answer.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (PatchCore), CVPR 2022, section 3.
"""

import torch
from torch import Tensor, nn

from padseg.models.layers import full_precision

_ROWS = 512  # whose similarities to all entries stay in a processor's cache
_PROJECTED = 64  # dimensions in which the coreset is chosen
_EXCLUDED = -9.0  # makes a similarity smaller than all others


class Memory(nn.Module):
    """Feature vectors of normal images, and the training image that each comes from.

    Args:
        size: number of entries.
        channels: of a vector.

    Attributes:
        entries: vectors (size, channels); zeros until they are chosen.
        image: number of the training image of each entry (size,), int64; -1 until they are chosen.
    """

    image: Tensor

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.zeros(size, channels))
        self.register_buffer("image", torch.full((size,), -1))

    @torch.no_grad()
    def choose(self, vectors: Tensor, image: Tensor) -> None:
        """Fill the memory with the most different of the vectors.

        Args:
            vectors: candidates (n, channels), float32. If there are fewer than entries, they are repeated.
            image: the training image of each, (n,).
        """
        chosen = k_centre(vectors, min(len(self.entries), len(vectors)))
        chosen = chosen[torch.arange(len(self.entries), device=chosen.device) % len(chosen)]
        self.entries.copy_(vectors[chosen])
        self.image.copy_(image[chosen])

    @torch.no_grad()
    def forward(self, key: Tensor, own: Tensor | None = None) -> Tensor:
        """The entry nearest to each vector by its dot product.

        Args:
            key: vectors (B, channels, h, w), float32.
            own: number of the training image that each of the B is made from, whose entries do not count;
                None for images that the memory has not seen.

        Returns:
            (B, channels, h, w), float32.
        """
        batch, channels, height, width = key.shape
        rows = key.flatten(2).transpose(1, 2)
        with full_precision(key):  # in bfloat16, the best entries would all be equally similar
            if torch.compiler.is_exporting():
                nearest = (rows @ self.entries.T).argmax(dim=2)
            else:
                bias = torch.zeros(batch, len(self.entries), device=key.device)
                if own is not None:
                    bias.masked_fill_(self.image == own[:, None], _EXCLUDED)
                nearest = torch.stack(
                    [self._nearest(*pair) for pair in zip(rows, bias, strict=True)]
                )
        found = self.entries[nearest]
        return found.transpose(1, 2).reshape(batch, channels, height, width)

    def _nearest(self, rows: Tensor, bias: Tensor) -> Tensor:
        parts = torch.split(rows, _ROWS)
        return torch.cat([_argmax(torch.addmm(bias, part, self.entries.T)) for part in parts])


def _argmax(x: Tensor) -> Tensor:
    """The column of the largest number in each row."""
    # On a CPU, NumPy's takes a ninth of the time of PyTorch's (2.15).
    return torch.from_numpy(x.numpy().argmax(1)) if x.device.type == "cpu" else x.argmax(dim=1)


def k_centre(vectors: Tensor, count: int) -> Tensor:
    """Choose vectors one by one, each the farthest from those chosen before, from the first one on.

    Distances are those of a random projection, which PatchCore found to be good enough.

    Args:
        vectors: (n, channels), float32.
        count: how many to choose, at most n.

    Returns:
        Their numbers (count,), int64.
    """
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(vectors.shape[1], _PROJECTED, generator=generator)
    with full_precision(vectors):
        low = vectors @ projection.to(vectors)
        square = low.square().sum(dim=1)
        distance = torch.full_like(square, torch.inf)
        chosen = [torch.zeros((), dtype=torch.int64, device=vectors.device)]
        while len(chosen) < count:
            last = chosen[-1]
            torch.minimum(distance, square + square[last] - 2 * (low @ low[last]), out=distance)
            chosen.append(distance.argmax())
    return torch.stack(chosen)
