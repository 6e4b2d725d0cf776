"""The segmentation network of TEDSeg, which sees distances between teacher and student and nothing else."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from padseg.models.layers import FullPrecisionConv2d, conv_bn_relu, kaiming_init, resize_to
from padseg.models.residual import ResidualBlock
from padseg.models.scores import log_distances
from padseg.models.segmentation import SegmentationOptions
from padseg.models.teacher import FeaturePair

_START = -2.0  # logit of the first step, when few pixels are defects
_TURNS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


class DistanceNetwork(nn.Module):
    """A narrow U-net on the logarithmic distances of each level, as they are and relative to their place.

    As products of features would, features let the network recognise painted textures; distances do not.
    The shape is that of Ronneberger et al., "U-Net", MICCAI 2015, with residual blocks and with sums instead
    of concatenations.

    While it trains, each image of a batch is mirrored in one of four ways, so that nothing is learned about
    directions; its logits are mirrored back.

    Args:
        channels: of the levels; only their number matters.
        options: the width of the finest stage; the three coarser ones have twice as many channels.
    """

    def __init__(self, channels: Sequence[int], options: SegmentationOptions) -> None:
        super().__init__()
        maps, width = 2 * len(channels), options.width
        widths = (width, 2 * width, 2 * width, 2 * width)
        self.norm = nn.BatchNorm2d(maps)
        self.enter = conv_bn_relu(maps, width)
        self.encode = nn.ModuleList(ResidualBlock(of, of) for of in widths)
        self.down = nn.ModuleList(
            conv_bn_relu(fine, coarse, stride=2)
            for fine, coarse in zip(widths[:-1], widths[1:], strict=True)
        )
        self.up = nn.ModuleList(
            conv_bn_relu(coarse, fine, kernel=1)
            for fine, coarse in zip(widths[:-1], widths[1:], strict=True)
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

    def forward(self, pair: FeaturePair) -> Tensor:
        """Map the features of teacher and student to logits of defects.

        Args:
            pair: features (B, C_k, h_k, w_k) with the usual distances, finest level first.

        Returns:
            Logits (B, 1, h_1, w_1), float32.
        """
        size = (pair.teacher[0].shape[-2], pair.teacher[0].shape[-1])
        distances = log_distances(pair, size)
        assert pair.usual is not None
        mean, deviation = resize_to(pair.usual, size)
        maps = torch.cat([distances, (distances - mean) / deviation], dim=1)
        return _turn(self._segment(_turn(maps))) if self.training else self._segment(maps)

    def _segment(self, maps: Tensor) -> Tensor:
        stages = [self.encode[0](self.enter(self.norm(maps)))]
        for down, encode in zip(self.down, self.encode[1:], strict=True):
            stages.append(encode(down(stages[-1])))
        x = stages.pop()
        for stage, up, decode in zip(
            reversed(stages), reversed(self.up), reversed(self.decode), strict=True
        ):
            x = decode(stage + resize_to(up(x), (stage.shape[-2], stage.shape[-1])))
        logits: Tensor = self.out(x)
        return logits


def _turn(maps: Tensor) -> Tensor:
    """Mirror each map of a batch according to its place in it; twice is not at all."""
    return torch.stack([x.flip(_TURNS[i % len(_TURNS)]) for i, x in enumerate(maps)])
