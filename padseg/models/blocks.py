"""Blocks of which students and segmentation network are made.

Residual block: He et al., "Deep Residual Learning", CVPR 2016, with the two switches of PFADSeg.
RCM: Ni et al., "Context-Guided Spatial Feature Reconstruction" (CGRSeg), 2024, arXiv 2405.06228.
ASPP: Chen et al., "Rethinking Atrous Convolution", 2017, in the form that DeSTSeg uses.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padseg.models.attention import AFF, PCAR, full_precision, require_batch
from padseg.names import FUSIONS, SECOND_CONVS, Fusion, Recalibration, SecondConv
from padseg.options import one_of


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate maps (B, C, h, w) bilinearly to a (height, width); as they are if they fit."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def kaiming_init(module: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from Kaiming's normal, biases 0.

    Fan-out, gain of ReLU: torchvision's and timm's start of a ResNet. Batch norms are left at 1
    and 0, transposed convolutions at PyTorch's own start.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Chain a convolution without bias (same size at stride 1), batch norm and ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Basic block of a ResNet; with both switches on, the parallel attention block of PFADSeg.

    3x3 conv, BN, ReLU, second convolution, BN, fusion with the shortcut, ReLU. With both switches
    off names, number and values of the parameters are those of the plain block. Parameters at
    C -> C: plain 73,984 (C = 64) and 4,720,640 (C = 512), both on 154,276 and 9,807,136.

    Args:
        in_channels: channels of the input (B, in_channels, h, w).
        out_channels: channels of the output (B, out_channels, h / stride, w / stride), rounded up.
        stride: of the first convolution and of the shortcut.
        fusion: "add" the shortcut, or weigh it by attention ("aff").
        second_conv: a 3x3 "conv", or parallel convolutions ("pcar").
        kernels: kernel sizes of "pcar".
        dilations: dilations of "pcar".
        recalibration: what "pcar" weighs, see there.
        project: 1x1 conv and BN in the shortcut also where the shape stays.

    Raises:
        ConfigError: a switch has an unknown value.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        fusion: Fusion = "add",
        second_conv: SecondConv = "conv",
        kernels: Sequence[int] = (3, 3, 3),
        dilations: Sequence[int] = (1, 2, 3),
        recalibration: Recalibration = "channel",
        project: bool = False,
    ) -> None:
        super().__init__()
        one_of("fusion", fusion, FUSIONS)
        one_of("second_conv", second_conv, SECOND_CONVS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = (
            PCAR(out_channels, kernels, dilations, recalibration)
            if second_conv == "pcar"
            else nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        )
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.fuse = AFF(out_channels) if fusion == "aff" else None
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


class RCA(nn.Module):
    """Rectangular self-calibration attention: bands of row and column means gate the features.

    36 C parameters: depthwise 3x3, 1x11 and 11x1 convolutions with bias, one BN.
    """

    def __init__(self, channels: int, band: int = 11, square: int = 3) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, square, padding=square // 2, groups=channels)
        self.row = nn.Conv2d(channels, channels, (1, band), padding=(0, band // 2), groups=channels)
        self.bn = nn.BatchNorm2d(channels)
        self.column = nn.Conv2d(
            channels, channels, (band, 1), padding=(band // 2, 0), groups=channels
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        # Pooling keeps the memory format, a mean over the dimension does not; and of adaptive pooling no
        # GPU has a deterministic gradient.
        height, width = x.shape[-2:]
        bands = F.avg_pool2d(x, (1, width)) + F.avg_pool2d(x, (height, 1))
        gate = self.column(F.relu(self.bn(self.row(bands)), inplace=True))
        local: Tensor = self.local(x)
        return local * torch.sigmoid(gate)


class RCM(nn.Module):
    """Rectangular self-calibration module: x + layer_scale * MLP(BN(RCA(x))).

    Parameters: 19,072 at C = 64, 272,896 at C = 256. CGRSeg starts the layer scale at 1e-6 and
    trains with AdamW; under SGD it then stays near zero and the module an identity, so the start
    is 1 here.

    Args:
        channels: C of input and output, (B, C, h, w).
        layer_scale: start of the learned factor of the branch, one per channel.
        mlp_ratio: hidden channels of the MLP, in C.
    """

    def __init__(self, channels: int, layer_scale: float = 1.0, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.rca = RCA(channels)
        self.norm = nn.BatchNorm2d(channels)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, mlp_ratio * channels, 1),
            nn.GELU(),
            nn.Conv2d(mlp_ratio * channels, channels, 1),
        )
        self.layer_scale = nn.Parameter(torch.full((channels,), float(layer_scale)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        branch = self.mlp(self.norm(self.rca(x)))
        return torch.addcmul(x, branch, self.layer_scale.to(branch.dtype)[:, None, None])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: global mean and three dilated convolutions, fused by a 3x3.

    As in DeSTSeg's code: no plain 1x1 branch. 4,196,864 parameters at C = 256. Training takes two
    images or more, the pooled branch has one value per image.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (6, 12, 18)) -> None:
        super().__init__()
        self.pooled = conv_bn_relu(channels, channels, kernel=1)
        self.dilated = nn.ModuleList(
            conv_bn_relu(channels, channels, dilation=d) for d in dilations
        )
        self.fuse = conv_bn_relu((1 + len(dilations)) * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to non-negative (B, C, h, w)."""
        require_batch(self, x)
        # Rounded before its BN, what the images of a batch differ in would be lost.
        dtype = next(self.pooled.parameters()).dtype
        mean = x.mean(dim=(2, 3), keepdim=True, dtype=dtype)
        with full_precision(mean):
            pooled: Tensor = self.pooled(mean)
        maps: list[Tensor] = [conv(x) for conv in self.dilated]
        # Added to zeros rather than expanded, so that the memory format stays.
        maps.append(torch.zeros_like(maps[0]) + pooled.to(maps[0].dtype))
        out: Tensor = self.fuse(torch.cat(maps, dim=1))
        return out


class AttentionMap(nn.Module):
    """One-channel attention from a teacher's feature (RSTPM): 3x3 conv, BN, ReLU, 1x1 conv, sigmoid.

    9 C^2 + 3 C parameters: 590,592 at C = 256, 9,440,256 at C = 1024.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = conv_bn_relu(channels, channels)
        self.score = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to weights (B, 1, h, w) in (0, 1)."""
        return torch.sigmoid(self.score(self.features(x)))
