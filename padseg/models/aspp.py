"""ASPP: atrous spatial pyramid pooling.

Chen et al., "Rethinking Atrous Convolution", 2017, in the form that DeSTSeg uses.
"""

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from padseg.models.layers import full_precision, require_batch


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: global mean and three dilated convolutions, fused by a 3x3.

    As in DeSTSeg's code, there is no plain 1x1 branch. 4,196,864 parameters at C = 256. Training needs two
    or more images, because the pooled branch has one value per image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pooled = Conv2dNormActivation(channels, channels, kernel_size=1)
        self.dilated = nn.ModuleList(
            Conv2dNormActivation(channels, channels, dilation=d) for d in (6, 12, 18)
        )
        self.fuse = Conv2dNormActivation(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to non-negative (B, C, h, w)."""
        require_batch(self, x)
        # Rounding before the BN would remove the differences between the images of a batch.
        dtype = next(self.pooled.parameters()).dtype
        mean = x.mean(dim=(2, 3), keepdim=True, dtype=dtype)
        with full_precision(mean):
            pooled: Tensor = self.pooled(mean)
        maps: list[Tensor] = [conv(x) for conv in self.dilated]
        # Added to zeros instead of expanded, to keep the memory format.
        maps.append(torch.zeros_like(maps[0]) + pooled.to(maps[0].dtype))
        out: Tensor = self.fuse(torch.cat(maps, dim=1))
        return out
