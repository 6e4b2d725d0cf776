"""Students, the networks that learn the teacher's features.

All of them return features with the teacher's channels and sizes, fine to coarse.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from padseg.models.layers import kaiming_init, require_batch, resize_to
from padseg.models.residual import PLAIN, BlockOptions, ResidualBlock, two_blocks

Sizes = Sequence[tuple[int, int]]


class Encoder(nn.Module):
    """A ResNet-18 with chosen widths: a stem at 1/4 resolution, then a stage of two blocks for each width.

    2,782,784 parameters with widths 64, 128, 256; 11,176,512 with 512 as well.

    Args:
        stem: channels of the 7x7 convolution.
        widths: channels of each stage; the first keeps the stem's resolution, the others halve it.
        block: options of the residual blocks.
    """

    def __init__(self, stem: int, widths: Sequence[int], block: BlockOptions = PLAIN) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *Conv2dNormActivation(3, stem, kernel_size=7, stride=2),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList(
            two_blocks(before, width, 1 if index == 0 else 2, block)
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
    """An untrained network with the teacher's architecture up to its third stage.

    Wang et al., "Student-Teacher Feature Pyramid Matching", BMVC 2021. 2,782,784 parameters for a
    ResNet-18 teacher. Initialised as in torchvision: the last BN of a block starts at 1.

    Args:
        channels: the teacher's channels, fine to coarse.
        width: channels of the stem.
        block: options of the residual blocks.
    """

    def __init__(
        self, channels: Sequence[int], width: int = 64, block: BlockOptions = PLAIN
    ) -> None:
        super().__init__()
        self.encoder = Encoder(width, channels, block)
        kaiming_init(self)

    def forward(self, image: Tensor, sizes: Sizes) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to features of the given (height, width)s."""
        return [resize_to(x, size) for x, size in zip(self.encoder(image), sizes, strict=True)]


class DenoisingStudent(nn.Module):
    """An encoder and a decoder that reconstruct the teacher's features of the image before corruption.

    Zhang et al., "DeSTSeg", CVPR 2023, section 3.2; with blocks of attention it is PFADSeg's
    (section 3.1).
    24,665,024 parameters with plain blocks, 51,703,344 with both switches on. There are no skip
    connections: everything passes through the bottleneck at 1/32 resolution.

    Initialised Kaiming-normal. As in timm, the last BNs of the encoder start at zero, which makes each
    block an identity, unless it is fused by random gates: these make no identity, and the BNs stay at one.

    Args:
        channels: the teacher's channels, fine to coarse; three levels.
        width: channels of the encoder's first stage, doubled by each of the other three.
        block: options of the residual blocks.
    """

    def __init__(
        self, channels: Sequence[int], width: int = 64, block: BlockOptions = PLAIN
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        bottom = 8 * width
        self.encoder = Encoder(width, [width, 2 * width, 4 * width, bottom], block)
        self.bottleneck = two_blocks(bottom, bottom, options=block)
        self.decoder = nn.ModuleList(
            two_blocks(*ends, options=block) for ends in pairwise((bottom, coarse, middle, fine))
        )
        kaiming_init(self)
        random_gates = block.fusion == "aff" and block.gates == "random"
        for part in self.encoder.modules():
            if isinstance(part, ResidualBlock) and not random_gates:
                nn.init.zeros_(part.bn2.weight)

    def forward(self, image: Tensor, sizes: Sizes) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to features of the given (height, width)s."""
        if max(image.shape[-2:]) <= 32:
            require_batch(self, image)  # one pixel remains at the bottleneck
        x = self.bottleneck(self.encoder(image)[-1])
        features: list[Tensor] = []
        for stage, size in zip(self.decoder, reversed(sizes), strict=True):
            x = stage(resize_to(x, size))
            features.append(x)
        return features[::-1]
