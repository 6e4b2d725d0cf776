"""RCM: rectangular self-calibration module.

Ni et al., "Context-Guided Spatial Feature Reconstruction" (CGRSeg), 2024, arXiv 2405.06228.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RCA(nn.Module):
    """Rectangular self-calibration attention: bands of row and column means gate the features.

    36 C parameters: depthwise 3x3, 1x11 and 11x1 convolutions with bias, one BN.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.row = nn.Conv2d(channels, channels, (1, 11), padding=(0, 5), groups=channels)
        self.bn = nn.BatchNorm2d(channels)
        self.column = nn.Conv2d(channels, channels, (11, 1), padding=(5, 0), groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        # Pooling keeps the memory format, unlike a mean over the dimension; and adaptive pooling has no
        # deterministic gradient on GPUs.
        height, width = x.shape[-2:]
        bands = F.avg_pool2d(x, (1, width)) + F.avg_pool2d(x, (height, 1))
        gate = self.column(F.relu(self.bn(self.row(bands)), inplace=True))
        local: Tensor = self.local(x)
        return local * torch.sigmoid(gate)


class RCM(nn.Module):
    """Rectangular self-calibration module: x + layer_scale * MLP(BN(RCA(x))).

    Parameters: 19,072 at C = 64, 272,896 at C = 256. CGRSeg starts the layer scale at 1e-6 and
    trains with AdamW. With SGD it would stay near zero and the module an identity, so here it starts
    at 1.

    Args:
        channels: C of input and output, (B, C, h, w).
        layer_scale: initial value of the learned factors of the branch, one per channel.
    """

    def __init__(self, channels: int, layer_scale: float = 1.0) -> None:
        super().__init__()
        self.rca = RCA(channels)
        self.norm = nn.BatchNorm2d(channels)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1),
        )
        self.layer_scale = nn.Parameter(torch.full((channels,), float(layer_scale)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        branch = self.mlp(self.norm(self.rca(x)))
        return torch.addcmul(x, branch, self.layer_scale.to(branch.dtype)[:, None, None])
