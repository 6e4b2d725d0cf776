"""The networks that learn the teacher's features: one for each idea of what a student is.

All of them answer with features of the teacher's channels and sizes, fine to coarse.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from padseg.models.attention import require_batch
from padseg.models.blocks import (
    AttentionMap,
    ResidualBlock,
    conv_bn_relu,
    kaiming_init,
    resize_to,
)
from padseg.names import UPSAMPLES, Upsample
from padseg.options import one_of

Sizes = Sequence[tuple[int, int]]
BlockFactory = Callable[..., ResidualBlock]


def two_blocks(
    in_channels: int, out_channels: int, stride: int = 1, block: BlockFactory = ResidualBlock
) -> nn.Sequential:
    """Chain the two residual blocks that every stage of a ResNet-18 has."""
    return nn.Sequential(
        block(in_channels, out_channels, stride), block(out_channels, out_channels)
    )


class Encoder(nn.Module):
    """A ResNet-18 of chosen widths: stem at 1/4 resolution, then a stage of two blocks a width.

    2,782,784 parameters with widths 64, 128, 256; 11,176,512 with 512 as well.

    Args:
        stem: channels of the 7x7 convolution.
        widths: channels of each stage; the first keeps the stem's resolution, others halve it.
        block: residual block, called with (in_channels, out_channels, stride).
    """

    def __init__(
        self, stem: int, widths: Sequence[int], block: BlockFactory = ResidualBlock
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *conv_bn_relu(3, stem, kernel=7, stride=2), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.stages = nn.ModuleList(
            two_blocks(before, width, stride=1 if index == 0 else 2, block=block)
            for index, (before, width) in enumerate(zip([stem, *widths[:-1]], widths, strict=True))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to the stages' features, fine to coarse."""
        features: list[Tensor] = []
        x = self.stem(image)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class PlainStudent(nn.Module):
    """The teacher's own kind of network up to its third stage, untrained.

    Wang et al., "Student-Teacher Feature Pyramid Matching", BMVC 2021. 2,782,784 parameters for a
    ResNet-18 teacher. Torchvision's initialisation: the last BN of a block starts at 1.

    Args:
        channels: the teacher's channels, fine to coarse.
        width: channels of the stem.
        block: residual block of every stage.
    """

    def __init__(
        self, channels: Sequence[int], width: int = 64, block: BlockFactory = ResidualBlock
    ) -> None:
        super().__init__()
        self.encoder = Encoder(width, channels, block)
        kaiming_init(self)

    def forward(self, image: Tensor, sizes: Sizes) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to features of the given (height, width)s."""
        return [resize_to(x, size) for x, size in zip(self.encoder(image), sizes, strict=True)]


class DenoisingStudent(nn.Module):
    """An encoder and a decoder that rebuild the teacher's view of the image before corruption.

    Zhang et al., "DeSTSeg", CVPR 2023, section 3.2; with blocks of attention it is PFADSeg's
    (section 3.1).
    24,665,024 parameters with plain blocks, 51,703,344 with both switches on. No skip connections:
    everything passes the bottleneck at 1/32 resolution.

    Kaiming-normal start; the encoder's last BNs start at zero, as timm does it, each block an identity.

    Args:
        channels: the teacher's channels, fine to coarse; three levels.
        width: channels of the encoder's first stage, doubled by each of the other three.
        block: residual block of every stage.
    """

    def __init__(
        self, channels: Sequence[int], width: int = 64, block: BlockFactory = ResidualBlock
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        bottom = 8 * width
        self.encoder = Encoder(width, [width, 2 * width, 4 * width, bottom], block)
        self.bottleneck = two_blocks(bottom, bottom, block=block)
        self.decoder = nn.ModuleList(
            [
                two_blocks(bottom, coarse, block=block),
                two_blocks(coarse, middle, block=block),
                two_blocks(middle, fine, block=block),
            ]
        )
        kaiming_init(self)
        for part in self.encoder.modules():
            if isinstance(part, ResidualBlock):
                nn.init.zeros_(part.bn2.weight)

    def forward(self, image: Tensor, sizes: Sizes) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to features of the given (height, width)s."""
        if max(image.shape[-2:]) <= 32:
            require_batch(self, image)  # one pixel is left at the bottleneck
        x = self.bottleneck(self.encoder(image)[-1])
        features: list[Tensor] = []
        for stage, size in zip(self.decoder, reversed(sizes), strict=True):
            x = stage(resize_to(x, size))
            features.append(x)
        return features[::-1]


class ReconstructionStudent(nn.Module):
    """The second student of RSTPM: from one teacher's last features to another teacher's pyramid.

    Yamada & Hotta, "Reconstruction Student with Attention for Student-Teacher Pyramid Matching",
    2021. The text leaves widths and places of the three attention maps open. Here each map of
    teacher 2 gates the input of the stage of its scale, x * (1 + a), and the stage's output is
    matched: a gate on a matched output would cancel, since one factor per pixel does not change a
    normalised feature. 101,220,352 parameters between a ResNet-18 and a ResNet-50, 61,364,992 with
    `upsample` "bilinear".

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
                conv_bn_relu(in_channels, coarse), ResidualBlock(coarse, coarse)
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
            self.stages = nn.ModuleList(
                [
                    two_blocks(in_channels, coarse),
                    two_blocks(coarse, middle),
                    two_blocks(middle, fine),
                ]
            )
        self.attention = nn.ModuleList(AttentionMap(c) for c in (coarse, middle, fine))
        kaiming_init(self)

    def forward(self, source: Tensor, guides: Sequence[Tensor]) -> list[Tensor]:
        """Rebuild teacher 2's features.

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
            # A doubled map is one pixel too large where the teacher halved an odd size.
            x = resize_to(up(x)[..., :height, :width], (height, width))
            gate = attention(guide)
            x = stage(x * (1 + gate.to(x.dtype)))
            features.append(x)
        return features[::-1]


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    """Double height and width by a transposed convolution, then BN."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(out_channels),
    )
