"""The segmentation network of TEDSeg, which reads distances between teacher and student."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from padseg.losses import normalized_product
from padseg.models.layers import FullPrecisionConv2d, kaiming_init, resize_to
from padseg.models.residual import ResidualBlock
from padseg.models.scores import log_distances
from padseg.models.segmentation import SegmentationOptions
from padseg.models.teacher import FeaturePair

_START = -2.0  # logit of the first step, when few pixels are defects


class DistanceNetwork(nn.Module):
    """Narrow U-nets that read distances and learn side by side; their logits are averaged.

    They see the logarithmic distances of each level. From features, or from many of their products, a network
    learns to recognise the textures that are painted in training; from distances it cannot. So only the finest
    products enter, through a bottleneck.

    What one such network makes of real defects depends much on its first weights, since it has seen synthetic
    ones alone; the mean depends on them less. Lakshminarayanan et al., "Simple and Scalable Predictive
    Uncertainty Estimation using Deep Ensembles", NeurIPS 2017.

    Args:
        channels: of the levels.
        options: the width of the finest stage; the three coarser ones have twice as many channels.
        products: how many levels enter as products, from the first one on.
        members: number of U-nets.
    """

    def __init__(
        self,
        channels: Sequence[int],
        options: SegmentationOptions,
        products: int = 0,
        members: int = 1,
    ) -> None:
        super().__init__()
        self.products = products
        self.members = nn.ModuleList(
            _UNet(len(channels), sum(channels[:products]), options.width) for _ in range(members)
        )

    def forward(self, pair: FeaturePair) -> Tensor:
        """Map the features of teacher and student to logits of defects.

        Args:
            pair: features (B, C_k, h_k, w_k), finest level first.

        Returns:
            Logits (B, 1, h, w), float32, of the pair's `size`; in training, those of each U-net,
            (B, members, h, w).
        """
        finest = pair.teacher[0].shape[-2:]
        maps = log_distances(pair, pair.size or finest)
        levels = list(zip(pair.teacher, pair.student, strict=True))[: self.products]
        products = [resize_to(normalized_product(*level), finest) for level in levels]
        joined = torch.cat(products, dim=1) if products else None
        if not self.training:
            return torch.cat([member(maps, joined) for member in self.members], dim=1).mean(
                dim=1, keepdim=True
            )
        number = torch.arange(len(maps), device=maps.device) if pair.number is None else pair.number
        # Each member sees a sample mirrored in another way.
        return torch.cat(
            [member(maps, joined, number + first) for first, member in enumerate(self.members)],
            dim=1,
        )


class _UNet(nn.Module):
    """The shape of Ronneberger et al., "U-Net", MICCAI 2015, with residual blocks, and sums for concatenations.

    While it trains, each image is mirrored in one of four ways, which its number in the stream determines, so that
    nothing is learned about directions; its logits are mirrored back.
    """

    def __init__(self, maps: int, products: int, width: int) -> None:
        super().__init__()
        narrow = width // 2 if products else 0
        self.squeeze = (
            nn.Sequential(
                nn.BatchNorm2d(products), Conv2dNormActivation(products, narrow, kernel_size=1)
            )
            if products
            else None
        )
        widths = (width, 2 * width, 2 * width, 2 * width)
        self.norm = nn.BatchNorm2d(maps + narrow)
        self.enter = Conv2dNormActivation(maps + narrow, width)
        self.encode = nn.ModuleList(ResidualBlock(of, of) for of in widths)
        self.down = nn.ModuleList(
            Conv2dNormActivation(fine, coarse, stride=2) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(
            Conv2dNormActivation(coarse, fine, kernel_size=1) for fine, coarse in pairwise(widths)
        )
        self.decode = nn.ModuleList(ResidualBlock(of, of) for of in widths[:-1])
        self.out = FullPrecisionConv2d(width, 1, 1)
        kaiming_init(self)
        for part in self.modules():
            if isinstance(part, ResidualBlock):
                nn.init.zeros_(part.bn2.weight)
        nn.init.normal_(self.out.weight, std=0.01)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias, _START)

    def forward(self, maps: Tensor, products: Tensor | None, flips: Tensor | None = None) -> Tensor:
        """Segment distances.

        Args:
            maps: distances, (B, maps, h, w).
            products: of the finest levels, (B, products, h_1, w_1); None if there are none.
            flips: how to mirror each image, (B,) int64: bit 0 left-right, bit 1 upside-down. None: not at all.

        Returns:
            Logits (B, 1, h, w), float32.
        """
        if self.squeeze is not None:
            squeezed = self.squeeze(products)
            maps = torch.cat([maps, resize_to(squeezed, maps.shape[-2:])], dim=1)
        if flips is None:
            return self._segment(maps)
        return _mirror(self._segment(_mirror(maps, flips)), flips)

    def _segment(self, maps: Tensor) -> Tensor:
        stages = [self.encode[0](self.enter(self.norm(maps)))]
        for down, encode in zip(self.down, self.encode[1:], strict=True):
            stages.append(encode(down(stages[-1])))
        x = stages.pop()
        for stage, up, decode in zip(
            reversed(stages), reversed(self.up), reversed(self.decode), strict=True
        ):
            x = decode(stage + resize_to(up(x), stage.shape[-2:]))
        logits: Tensor = self.out(x)
        return logits


def _mirror(maps: Tensor, flips: Tensor) -> Tensor:
    """Mirror each map of a batch as the two lowest bits of its number say; a second call undoes it."""
    for bit, side in ((1, -1), (2, -2)):
        mirrored = (flips & bit).bool()[:, None, None, None]
        maps = torch.where(mirrored, maps.flip(side), maps)
    return maps
