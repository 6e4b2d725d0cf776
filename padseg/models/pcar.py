"""PCAR: parallel convolutions with recalibration, PFADSeg's second convolution of a residual block.

PCAR: PFADSeg, section 3.2, equations 5-9: parallel convolutional attention recalibration.
SPR: Yu et al., "Multi-scale spatial pyramid attention mechanism for image recognition" (MSPANet),
     Eng. Appl. Artif. Intell. 133, 2024: spatial pyramid recalibration.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padseg.errors import ConfigError
from padseg.models.layers import full_precision
from padseg.names import RECALIBRATIONS, Recalibration
from padseg.options import one_of


class SPR(nn.Module):
    """Spatial pyramid recalibration: weights for the channels from features pooled to 1x1 and 2x2.

    5C -> C/16 -> C, 6 C^2/16 + C/16 + C parameters: 1,604 at C = 64, 98,848 at C = 512. The two
    1x1 convolutions of the paper are linear layers here.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.squeeze = nn.Linear(5 * channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    @staticmethod
    def describe(x: Tensor) -> Tensor:
        """Pool (B, C, h, w) to the pyramid (B, 5C), float32: the mean, then the four quarters."""
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            quarters = F.adaptive_avg_pool2d(x, 2).float()
            whole = x.mean(dim=(2, 3), dtype=torch.float32)
        else:  # the same, but with a deterministic gradient on GPUs
            quarters = F.avg_pool2d(x, (height // 2, width // 2)).float()
            whole = quarters.mean(dim=(2, 3))  # the mean, without another pass over the map
        return torch.cat([whole, quarters.flatten(1)], dim=1)

    def forward(self, pyramid: Tensor) -> Tensor:
        """Turn pyramids (..., B, 5C) into weights (..., B, C) in (0, 1), in float32."""
        with full_precision(pyramid):
            hidden = F.relu(self.squeeze(pyramid.to(self.squeeze.weight.dtype)))
            return torch.sigmoid(self.expand(hidden))


class PCAR(nn.Module):
    """Parallel convolutions of one input, weighted against each other for each channel.

    X_i = BN(conv_i(x)); W = softmax over i of SPR(X_i), one SPR for all; out = sum of W_i * X_i.
    The paper leaves open the kernels, whether the branches are normalised, and what the softmax of
    equations 6 to 8 is taken over. The defaults follow the stride-2 stage of MSPANet, where the parts
    come from: 3x3 kernels with dilations 1, 2, 3, BN, a weight for each branch and channel. Taken
    literally, equation 8 weighs pixels: F_i = SPR(X_i) * X_i, out = sum of softmax over i of F_i * F_i.
    Parameters with the defaults: 112,580 at C = 64, 7,179,808 at C = 512.

    Args:
        channels: C of input and output, (B, C, h, w).
        kernels: size of each branch's kernel, odd.
        dilations: dilation of each branch.
        recalibration: whether each "channel" or each "pixel" of a branch has its own weight.

    Raises:
        ConfigError: kernels and dilations do not match, or the recalibration is unknown.
    """

    def __init__(
        self,
        channels: int,
        kernels: Sequence[int] = (3, 3, 3),
        dilations: Sequence[int] = (1, 2, 3),
        recalibration: Recalibration = "channel",
    ) -> None:
        super().__init__()
        one_of("recalibration", recalibration, RECALIBRATIONS)
        if len(kernels) != len(dilations) or not kernels:
            raise ConfigError(
                f"kernels {tuple(kernels)} and dilations {tuple(dilations)} differ in number; "
                "give one dilation for each kernel."
            )
        if any(k < 1 or k % 2 == 0 for k in kernels) or any(d < 1 for d in dilations):
            raise ConfigError(
                f"kernels {tuple(kernels)} with dilations {tuple(dilations)} cannot be centred; "
                "give odd kernels and dilations of 1 or more."
            )
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, k, padding=d * (k // 2), dilation=d, bias=False),
                nn.BatchNorm2d(channels),
            )
            for k, d in zip(kernels, dilations, strict=True)
        )
        self.spr = SPR(channels)
        self.recalibration = recalibration

    def weights(self, maps: Sequence[Tensor]) -> Tensor:
        """Weights of the branches: (branches, B, C), with sum 1 over the branches, in float32."""
        return self._gates(maps).softmax(dim=0)

    def _gates(self, maps: Sequence[Tensor]) -> Tensor:
        gates: Tensor = self.spr(torch.stack([SPR.describe(x) for x in maps]))
        return gates

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        maps: list[Tensor] = [branch(x) for branch in self.branches]
        if self.recalibration == "pixel":
            features = torch.stack(maps) * self._gates(maps).to(maps[0].dtype)[..., None, None]
            return (features * features.softmax(dim=0, dtype=torch.float32)).sum(dim=0).to(x.dtype)
        weights = self.weights(maps).to(maps[0].dtype)[..., None, None]
        out = maps[0] * weights[0]
        for branch, weight in zip(maps[1:], weights[1:], strict=True):
            out = torch.addcmul(out, branch, weight)
        return out
