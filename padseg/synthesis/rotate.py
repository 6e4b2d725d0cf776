"""Rotation of pictures about their centre, with the same bits alone and in any batch."""

import torch
from torch import Tensor

# Pixels rotated at a time: on a CPU, the buffers should stay in the cache; elsewhere, they should be small.
_CHUNK_CPU = 2**16
_CHUNK_DEVICE = 2**22


def rotated(
    row: Tensor, column: Tensor, rotation: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Row and column, (N, h, w), of pixels before a rotation; `row` (h,) and `column` (w,) count from the centre."""
    cos, sin = rotation[:, 0, None, None], rotation[:, 1, None, None]
    row = row[:, None]
    y = (row * cos + column * sin).add_((size[0] - 1) / 2)
    x = (column * cos - row * sin).add_((size[1] - 1) / 2)
    return y, x


def rotate(pictures: Tensor, rotation: Tensor) -> Tensor:
    """Rotate pictures counter-clockwise about their centre and interpolate them bilinearly.

    Args:
        pictures: (N, H, W) float32.
        rotation: (N, 2) float32, cosine and sine of the angle.

    Returns:
        (N, H, W) float32. Beyond the edges, the pictures continue with zeros, also for the interpolation.
    """
    height, width = pictures.shape[-2:]
    points = _CHUNK_CPU if pictures.device.type == "cpu" else _CHUNK_DEVICE
    step = max(1, points // max(1, height * width))
    parts = [slice(first, first + step) for first in range(0, max(1, len(pictures)), step)]
    return torch.cat([_rotate(pictures[part], rotation[part]) for part in parts])


def _rotate(pictures: Tensor, rotation: Tensor) -> Tensor:
    count, height, width = pictures.shape
    device = pictures.device
    row = torch.arange(height, dtype=torch.float32, device=device).sub_((height - 1) / 2)
    column = torch.arange(width, dtype=torch.float32, device=device).sub_((width - 1) / 2)
    y, x = rotated(row, column, rotation, (height, width))

    # A ring of zeros around each picture. Pixel 0 of the picture is pixel 1 of this one.
    padded = torch.zeros((count, height + 3, width + 3), dtype=torch.float32, device=device)
    padded[:, 1:-2, 1:-2] = pictures
    v, u = y.add_(1).clamp_(0, height + 1), x.add_(1).clamp_(0, width + 1)
    above, left = v.floor(), u.floor()
    v, u = v.sub_(above), u.sub_(left)
    index = above.to(torch.int64).mul_(width + 3).add_(left.to(torch.int64))
    index += torch.arange(count, device=device)[:, None, None] * (height + 3) * (width + 3)
    index, table = index.flatten(), padded.flatten()

    def corner(offset: int) -> Tensor:
        return table[offset:].index_select(0, index).view_as(v)

    upper = corner(0).mul_(1 - u).add_(corner(1).mul_(u))
    lower = corner(width + 3).mul_(1 - u).add_(corner(width + 4).mul_(u))
    return upper.mul_(1 - v).add_(lower.mul_(v))
