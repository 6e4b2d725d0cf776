"""Soft edges of defects: a Gaussian blur of the masks, of another width in every sample."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_CUT = 3.0  # standard deviations at which the Gaussian ends


def edge_taps(sigma: float, largest: float) -> Tensor:
    """The weights of a Gaussian blur from its centre outwards.

    Args:
        sigma: Standard deviation in pixels; 0 for no blur.
        largest: The largest sigma of any sample, which determines the number of weights.

    Returns:
        (R + 1,) float32 with R = ceil(3 * largest): the weight of the centre, then of each distance up to
        R. All weights to both sides add up to 1.
    """
    distance = np.arange(math.ceil(_CUT * largest) + 1)
    weights = np.exp(-0.5 * (distance / max(sigma, 1e-3)) ** 2)
    weights[distance > math.ceil(_CUT * sigma)] = 0
    weights /= weights[0] + 2 * weights[1:].sum()
    return torch.from_numpy(weights.astype(np.float32))


def soften(mask: Tensor, taps: Tensor) -> Tensor:
    """Blur each mask with its own weights.

    Only sums and products in a fixed order, so that a mask has the same bits in any batch.

    Args:
        mask: (B, 1, H, W) float32.
        taps: (B, R + 1) float32, the output of `edge_taps`, on the same device.

    Returns:
        (B, 1, H, W) float32 within 0 to 1. The border of the image continues outwards.
    """
    return _blur(_blur(mask, taps, -1), taps, -2).clamp_(max=1)


def _blur(x: Tensor, taps: Tensor, axis: int) -> Tensor:
    radius, side = taps.shape[1] - 1, x.shape[axis]
    padded = F.pad(x, (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius), "replicate")
    weights = taps.T[:, :, None, None, None]
    blurred = x * weights[0]
    for distance in range(1, radius + 1):
        before = padded.narrow(axis, radius - distance, side)
        after = padded.narrow(axis, radius + distance, side)
        blurred.add_((before + after).mul_(weights[distance]))
    return blurred
