"""Backbones of teachers, built by timm: feature pyramids, and transformers with one resolution."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import timm
import torch
from timm.layers.format import Format
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from padseg.errors import ConfigError
from padseg.models.hub import load_from_hub
from padseg.models.layers import resize_to
from padseg.models.weight_files import load_weights, read_weights

Blocks = Sequence[Sequence[int]]


class Transformer(nn.Module):
    """A vision transformer, some of whose blocks are levels.

    A level is the mean of the patch tokens after the blocks of a group, as in Guo et al., "Dinomaly", CVPR
    2025; class and register tokens are dropped. Images are resized to whole patches, and the position
    embedding to the image.

    Args:
        net: returns the patch tokens (B, C, h, w) of the blocks of all groups, in their order.
        groups: numbers of the blocks of each level, from 0.

    Attributes:
        channels: of each level.
        patch: side of a patch in pixels.
    """

    def __init__(self, net: FeatureGetterNet, groups: Blocks) -> None:
        super().__init__()
        self.net = net
        self.numbers = sorted({number for group in groups for number in group})
        self.groups = groups
        info: Any = net.feature_info
        self.patch: int = info.reduction()[0]
        self.channels = tuple(info.channels()[:1]) * len(groups)

    def input_size_for(self, size: tuple[int, int]) -> tuple[int, int]:
        """The nearest (height, width) of whole patches."""
        height, width = (max(1, round(length / self.patch)) * self.patch for length in size)
        return height, width

    def set_size(self, size: tuple[int, int]) -> None:
        """Resize the position embedding to images of this (height, width) once and for all."""
        set_size: Any = getattr(self.net.model, "set_input_size", None)
        if set_size is not None:
            set_size(img_size=self.input_size_for(size))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to levels (B, C, h, w), whose places are patches."""
        image = resize_to(image, self.input_size_for((image.shape[-2], image.shape[-1])))
        blocks = dict(zip(self.numbers, self.net(image), strict=True))
        return [torch.stack([blocks[k] for k in group]).mean(dim=0) for group in self.groups]


def build_pyramid(name: str, weights: str, reductions: Sequence[int], option: str) -> nn.Module:
    """Build a backbone that has levels at several resolutions.

    The arguments are those of `Teacher`.

    Returns:
        A network that maps images (B, 3, H, W) to these levels.

    Raises:
        ConfigError: see Teacher.
        CheckpointError: see Teacher.
    """
    net = _sketch(name)
    info: Any = net.feature_info
    found = dict(zip(info.reduction(), info.out_indices, strict=True))
    if getattr(net, "output_fmt", Format.NCHW) != Format.NCHW:
        raise ConfigError(
            f"backbone {name!r} puts the channels of its features last; choose a convolutional one."
        )
    if not set(reductions) <= set(found):
        has, wanted = (", ".join(f"1/{number}" for number in of) for of in (found, reductions))
        kind, other = ("", "")
        if find_depth(name) is not None:
            kind, other = "is a transformer and ", ", or system tedseg, which takes transformers"
        raise ConfigError(
            f"backbone {name!r} {kind}has its levels at {has} of the resolution; choose one with {wanted}"
            f"{other}."
        )
    # timm counts a ResNet's stem as a level; a ConvNeXt has none.
    built = _build(
        name, weights, option, out_indices=tuple(found[reduction] for reduction in reductions)
    )
    _drop_unread_blocks(built)
    return built


def find_depth(name: str) -> int | None:
    """The number of blocks of a transformer that keeps one resolution; None for other backbones.

    Raises:
        ConfigError: the backbone does not exist.
    """
    net = _sketch(name)
    info: Any = net.feature_info
    one = len({level["reduction"] for level in info.info}) == 1
    return len(info.info) if isinstance(net, FeatureGetterNet) and one else None


def build_transformer(
    name: str, weights: str, depth: int, blocks: Blocks | None, option: str
) -> Transformer:
    """Build a transformer up to the last of some blocks.

    The arguments are those of `Teacher`; `depth` is the number of blocks.

    Raises:
        ConfigError: see Teacher.
        CheckpointError: see Teacher.
    """
    groups = middle_blocks(depth) if blocks is None else blocks
    numbers = sorted({number for group in groups for number in group})
    if not groups or not all(groups) or numbers[0] < 0 or numbers[-1] >= depth:
        raise ConfigError(
            f"--model.blocks is {[list(group) for group in groups]}; give groups of numbers from 0 to "
            f"{depth - 1}, the blocks of {name}, such as {[list(g) for g in middle_blocks(depth)]}."
        )
    try:
        with torch.device("meta"):
            timm.create_model(name, features_only=True, dynamic_img_size=True)
    except TypeError as error:
        raise ConfigError(
            f"backbone {name!r} is a transformer for images of one size; choose one that timm adapts to "
            "others, such as 'vit_small_patch14_dinov2.lvd142m'."
        ) from error
    net = _build(name, weights, option, out_indices=tuple(numbers), dynamic_img_size=True)
    assert isinstance(net, FeatureGetterNet)
    return Transformer(net, groups)


def middle_blocks(depth: int) -> list[list[int]]:
    """Two groups, the second and the third quarter: the last blocks no longer show where something is."""
    first, half, third = depth // 4, depth // 2, max(depth * 3 // 4, depth // 2 + 1)
    return [list(range(first, half)), list(range(half, third))]


@lru_cache(maxsize=8)
def _sketch(name: str) -> nn.Module:
    """A backbone with all its levels and without memory, to distinguish a wrong name from a missing file.

    Raises:
        ConfigError: there is none of this name, or it has no levels.
    """
    try:
        with torch.device("meta"):
            net: nn.Module = timm.create_model(name, features_only=True)
    except Exception as error:  # timm has no error class
        raise ConfigError(
            f"backbone {name!r} cannot be built as a feature pyramid ({error}); choose a convolutional "
            "model of timm.list_models(), such as 'resnet18.tv_in1k'."
        ) from error
    return net


def _build(name: str, weights: str, option: str, **options: Any) -> nn.Module:
    """Build a backbone with its weights.

    Raises:
        CheckpointError: see Teacher.
    """
    if weights == "pretrained":
        return load_from_hub(name, option, **options)
    net: nn.Module = timm.create_model(name, features_only=True, **options)
    if weights != "random":
        whole = net.model if isinstance(net, FeatureGetterNet) else net
        load_weights(whole, read_weights(weights), name, weights)
    return net


def _drop_unread_blocks(net: nn.Module) -> None:
    """Remove what comes after the last level: timm's EfficientNets would compute it."""
    info: Any = net.feature_info
    room, _, last = info.module_name()[-1].partition(".")
    chain = getattr(net, room, None)
    if isinstance(chain, nn.Sequential) and last.isdigit():
        setattr(net, room, chain[: int(last) + 1])
