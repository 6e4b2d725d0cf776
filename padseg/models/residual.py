"""The residual block of students and segmentation network.

He et al., "Deep Residual Learning", CVPR 2016, with the two switches of PFADSeg.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from padseg.models.aff import AFF
from padseg.models.pcar import PCAR
from padseg.names import FUSIONS, SECOND_CONVS, Fusion, Gates, Recalibration, SecondConv
from padseg.options import one_of


@dataclass(frozen=True)
class BlockOptions:
    """What a residual block is made of; the defaults are the plain block of a ResNet.

    Attributes:
        fusion: "add" the shortcut, or weigh it by attention ("aff").
        gates: how "aff" starts, see AFF.
        second_conv: a 3x3 "conv", or parallel convolutions ("pcar").
        kernels: kernel sizes of "pcar".
        dilations: dilations of "pcar".
        recalibration: what "pcar" weighs, see there.
    """

    fusion: Fusion = "add"
    gates: Gates = "neutral"
    second_conv: SecondConv = "conv"
    kernels: tuple[int, ...] = (3, 3, 3)
    dilations: tuple[int, ...] = (1, 2, 3)
    recalibration: Recalibration = "channel"

    def __post_init__(self) -> None:
        """Refuse unknown switches.

        Raises:
            ConfigError: a switch has an unknown value.
        """
        one_of("fusion", self.fusion, FUSIONS)
        one_of("second_conv", self.second_conv, SECOND_CONVS)


PLAIN = BlockOptions()


class ResidualBlock(nn.Module):
    """Basic block of a ResNet; with both switches on, the parallel attention block of PFADSeg.

    3x3 conv, BN, ReLU, second convolution, BN, fusion with the shortcut, ReLU. With both switches
    off, names, number and values of the parameters are those of the plain block. Parameters at
    C -> C: plain 73,984 (C = 64) and 4,720,640 (C = 512), both on 154,276 and 9,807,136.

    Args:
        in_channels: channels of the input (B, in_channels, h, w).
        out_channels: channels of the output (B, out_channels, h / stride, w / stride), rounded up.
        stride: of the first convolution and of the shortcut.
        options: the two switches, and the options of "pcar".
        project: use a 1x1 conv and BN in the shortcut even if the shape does not change.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        options: BlockOptions = PLAIN,
        project: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = (
            PCAR(out_channels, options.kernels, options.dilations, options.recalibration)
            if options.second_conv == "pcar"
            else nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        )
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.fuse = AFF(out_channels, gates=options.gates) if options.fusion == "aff" else None
        self.shortcut = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if project or stride != 1 or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to non-negative (B, out_channels, h / stride, w / stride)."""
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        shortcut = self.shortcut(x)
        if self.fuse is None:
            return F.relu(residual + shortcut, inplace=True)
        return F.relu(self.fuse(residual, shortcut), inplace=True)


def two_blocks(
    in_channels: int, out_channels: int, stride: int = 1, options: BlockOptions = PLAIN
) -> nn.Sequential:
    """Chain the two residual blocks that every stage of a ResNet-18 has."""
    return nn.Sequential(
        ResidualBlock(in_channels, out_channels, stride, options),
        ResidualBlock(out_channels, out_channels, options=options),
    )
