"""The segmentation network on top of a frozen student and teacher."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from padseg.losses import normalized_product
from padseg.models.aspp import ASPP
from padseg.models.layers import FullPrecisionConv2d, kaiming_init, resize_to
from padseg.models.rcm import RCM
from padseg.models.residual import PLAIN, BlockOptions, two_blocks
from padseg.models.teacher import FeaturePair
from padseg.names import CONTEXTS, Context
from padseg.options import one_of


@dataclass(frozen=True)
class SegmentationOptions:
    """Options of a segmentation network; the defaults are DeSTSeg's.

    Attributes:
        width: channels inside.
        block: options of the residual blocks.
        context: "aspp" or "rcm".
        layer_scale: initial layer scale of RCM.
    """

    width: int = 256
    block: BlockOptions = PLAIN
    context: Context = "aspp"
    layer_scale: float = 1.0

    def __post_init__(self) -> None:
        """Reject an unknown context.

        Raises:
            ConfigError: the context is unknown.
        """
        one_of("context", self.context, CONTEXTS)


DESTSEG = SegmentationOptions()


class SegmentationNetwork(nn.Module):
    """Segments defects from the pixels and channels in which student and teacher differ.

    DeSTSeg, section 3.3 (two residual blocks, ASPP): 7,706,369 parameters. PFADSeg, section 3.3
    (two blocks with PCAR and AFF, RCM in place of ASPP): 6,329,377. PFADSeg says nothing about the output
    layers; they are DeSTSeg's.

    The papers use two learning rates, so there are two parts: `res`, initialised Kaiming-normal, and
    `head` (context and output layers), with PyTorch's default initialisation.

    Args:
        channels: the teacher's channels, fine to coarse.
        options: its options.
    """

    def __init__(
        self, channels: Sequence[int] = (64, 128, 256), options: SegmentationOptions = DESTSEG
    ) -> None:
        super().__init__()
        width = options.width
        self.res = two_blocks(sum(channels), width, options=options.block)
        kaiming_init(self.res)
        self.head = nn.Sequential(
            OrderedDict(
                context=(
                    ASPP(width) if options.context == "aspp" else RCM(width, options.layer_scale)
                ),
                out=nn.Sequential(
                    Conv2dNormActivation(width, width), FullPrecisionConv2d(width, 1, 1)
                ),
            )
        )

    def forward(self, pair: FeaturePair) -> Tensor:
        """Map the features of one teacher and student to logits of defects.

        Args:
            pair: features (B, C_k, h_k, w_k), fine to coarse.

        Returns:
            Logits (B, 1, h_1, w_1), float32.
        """
        # The minus sign comes from DeSTSeg's code: equal features are the smallest input.
        products = [
            resize_to(-normalized_product(t, s), pair.teacher[0].shape[-2:])
            for t, s in zip(pair.teacher, pair.student, strict=True)
        ]
        logits: Tensor = self.head(self.res(torch.cat(products, dim=1)))
        return logits
