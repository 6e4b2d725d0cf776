"""RSTPM's second student, which reconstructs a teacher's features from those of another teacher.

Yamada & Hotta, "Reconstruction Student with Attention for Student-Teacher Pyramid Matching", 2021.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from padseg.models.layers import kaiming_init, require_batch, resize_to
from padseg.models.residual import ResidualBlock, two_blocks
from padseg.names import UPSAMPLES, Upsample
from padseg.options import one_of


class ReconstructionStudent(nn.Module):
    """The second student of RSTPM: from one teacher's last features to another teacher's pyramid.

    The paper leaves open the widths and places of the three attention maps. Here, each map of teacher 2
    gates the input of the stage at its scale, x * (1 + a), and the stage's output is compared. A gate on
    that output would cancel out, because one factor per pixel does not change a normalised feature.
    101,220,352 parameters between a ResNet-18 and a ResNet-50, 61,364,992 with `upsample` "bilinear".

    Args:
        in_channels: channels of teacher 1's last stage, at 1/32 resolution.
        channels: teacher 2's channels, fine to coarse; three levels.
        upsample: transposed convolutions, or the lighter "bilinear" without parameters.

    Raises:
        ConfigError: upsample has an unknown value.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], upsample: Upsample = "deconv"
    ) -> None:
        super().__init__()
        one_of("upsample", upsample, UPSAMPLES)
        fine, middle, coarse = channels
        self.start: nn.Module
        if upsample == "deconv":
            self.start = nn.Sequential(
                Conv2dNormActivation(in_channels, coarse), ResidualBlock(coarse, coarse)
            )
            self.up = nn.ModuleList(
                [
                    nn.Sequential(_double(coarse, coarse), nn.ReLU(inplace=True)),
                    nn.Sequential(_double(coarse, middle), nn.ReLU(inplace=True)),
                    _double(middle, fine),
                ]
            )
            projected = partial(ResidualBlock, project=True)
            self.stages = nn.ModuleList(
                [
                    two_blocks(coarse, coarse),
                    nn.Sequential(projected(middle, middle), ResidualBlock(middle, middle)),
                    nn.Sequential(projected(fine, fine), ResidualBlock(fine, fine)),
                ]
            )
        else:
            self.start = nn.Identity()
            self.up = nn.ModuleList(nn.Identity() for _ in range(3))
            widths = (in_channels, coarse, middle, fine)
            self.stages = nn.ModuleList(two_blocks(*ends) for ends in pairwise(widths))
        self.attention = nn.ModuleList(AttentionMap(c) for c in (coarse, middle, fine))
        kaiming_init(self)

    def forward(self, source: Tensor, guides: Sequence[Tensor]) -> list[Tensor]:
        """Reconstruct teacher 2's features.

        Args:
            source: teacher 1's last features (B, in_channels, H / 32, W / 32).
            guides: teacher 2's features, fine to coarse, (B, C_k, h_k, w_k).

        Returns:
            Non-negative features of the guides' shapes.
        """
        if source.shape[-2:] == (1, 1) and not isinstance(self.start, nn.Identity):
            require_batch(self, source)
        x = self.start(source)
        features: list[Tensor] = []
        for up, attention, stage, guide in zip(
            self.up, self.attention, self.stages, reversed(guides), strict=True
        ):
            height, width = guide.shape[-2:]
            # A doubled map is one pixel too large if the teacher halved an odd size.
            x = resize_to(up(x)[..., :height, :width], (height, width))
            gate = attention(guide)
            x = stage(x * (1 + gate.to(x.dtype)))
            features.append(x)
        return features[::-1]


class AttentionMap(nn.Module):
    """One-channel attention from a teacher's feature (RSTPM): 3x3 conv, BN, ReLU, 1x1 conv, sigmoid.

    9 C^2 + 3 C parameters: 590,592 at C = 256, 9,440,256 at C = 1024.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = Conv2dNormActivation(channels, channels)
        self.score = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to weights (B, 1, h, w) in (0, 1)."""
        return torch.sigmoid(self.score(self.features(x)))


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    """Double height and width with a transposed convolution, then BN."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(out_channels),
    )
