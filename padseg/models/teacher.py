"""The frozen teacher, any timm backbone that returns a list of features, and the normalisation before it."""

import copy
import logging
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from padseg.errors import ConfigError
from padseg.models.backbones import (
    Blocks,
    Transformer,
    build_pyramid,
    build_transformer,
    find_depth,
)
from padseg.models.folding import Fold, find_folds, fold_batch_norms
from padseg.models.weight_files import hash_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS_OPTION = "--model.weights (with `padseg train` and `run`: --weights)"
_log = logging.getLogger(__name__)


class FeaturePair(NamedTuple):
    """Features of a teacher and its student for the same images, level by level, fine to coarse.

    Attributes:
        teacher: features (B, C_k, h_k, w_k).
        student: the same.
        size: (height, width) at which they are segmented; None: that of the finest level.
        number: in training, the number of each sample in the stream, (B,) int64; None without a stream.
    """

    teacher: list[Tensor]
    student: list[Tensor]
    size: tuple[int, int] | None = None
    number: Tensor | None = None


class Normalize(nn.Module):
    """Standardise RGB images in [0, 1], by default with ImageNet's mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        # Constants that checkpoints need not store.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to standardised ones of the same shape."""
        return (image - self.mean).div_(self.std)


class Teacher(nn.Module):
    """A pretrained backbone that is never trained: no gradients, always in eval mode.

    It computes with its batch norms folded into the convolutions, which is faster and differs by rounding
    alone; weights and checkpoints stay as they are.

    A plain name such as "resnet18" means other weights in each generation of timm, so spell out the tag.
    Its images are standardised like those on which the weights of the tag were trained.

    Args:
        name: timm model with its weight tag.
        weights: "pretrained" (timm's hub), "random" (from torch's global seed), or the path of a
            .safetensors file or of a state dict saved by torch. Additional weights are ignored.
        reductions: strides of the required levels, in input pixels per feature pixel.
        option: the option for a weight file, for messages.
        transformers: whether vision transformers serve as well, whose levels all have the same resolution.
        blocks: groups of a transformer's blocks, numbered from 0; the mean of a group is a level. None: the
            second and the third quarter of the blocks.

    Attributes:
        channels: channels of each level.
        folds: the batch norms that are folded; without them, the network computes as it is stored.

    Raises:
        ConfigError: timm has no such model, or it has neither a pyramid with these levels nor these blocks,
            or the weights of a plain name need another standardisation than ImageNet's.
        CheckpointError: the weights are unreachable, unreadable or made for another backbone.
    """

    def __init__(
        self,
        name: str = "resnet18.tv_in1k",
        weights: str = "pretrained",
        reductions: Sequence[int] = (4, 8, 16),
        option: str = WEIGHTS_OPTION,
        transformers: bool = False,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__()
        depth = find_depth(name)
        if depth is None and blocks is not None:
            raise ConfigError(
                f"--model.blocks is for vision transformers, and {name} is not one: leave it out."
            )
        self.restandardize = _restandardize(name, weights)
        self.net: nn.Module
        if depth is None or not transformers:
            self.net = build_pyramid(name, weights, reductions, option)
            info: Any = self.net.feature_info
            self.channels: tuple[int, ...] = tuple(info.channels())
        else:
            self.net = build_transformer(name, weights, depth, blocks, option)
            self.channels = self.net.channels
        self.name = name
        net = copy.deepcopy(self.net).to("meta").eval()
        size = (timm.get_pretrained_cfg(name) or PretrainedCfg()).input_size
        self.folds: tuple[Fold, ...] = find_folds(net, torch.empty(1, *size, device="meta"))
        self._folded: tuple[nn.Module] | None = None  # a tuple hides it from checkpoints
        self._stale: list[bool] = []  # not empty: weights were loaded since the network was folded
        for part in self.net.modules():  # weights may be loaded into a part alone
            # No method of this class, with which a copy of the network would copy the teacher around it.
            hook = partial(_mark, self._stale)
            part.register_load_state_dict_post_hook(hook)  # type: ignore[no-untyped-call]
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay frozen and in eval mode: Lightning switches and unfreezes every module, and the BN statistics would drift."""
        return super().train(False).requires_grad_(False)

    def input_size_for(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) to resize an image of this size to before the backbone; pyramids take any."""
        if not isinstance(self.net, Transformer):
            return size
        fitting = self.net.input_size_for(size)
        _warn_of_resizing(self.name, self.net.patch, size, fitting)
        return fitting

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to features (B, C_k, h_k, w_k), fine to coarse.

        Raises:
            ConfigError: the backbone does not take images of this size.
        """
        try:
            features: list[Tensor] = self._quick_net()(self.restandardize(image))
        except AssertionError as error:  # timm's check of sizes
            height, width = image.shape[-2:]
            raise ConfigError(
                f"backbone {self.name!r} does not take images of {height}x{width} ({error}): give another "
                "--model.image_size, or choose a convolutional backbone."
            ) from error
        return features

    def _quick_net(self) -> nn.Module:
        if not self.folds or any(map(_is_hooked, self.net.modules())):
            return self.net  # hooks, as those of a profiler, are of the network as it is
        if self._folded is None or self._stale:
            self._stale.clear()
            with torch.inference_mode(False):
                folded = copy.deepcopy(self.net).eval().requires_grad_(False)
                fold_batch_norms(folded, self.folds)
                self._folded = (folded.to(memory_format=torch.channels_last),)
        return self._folded[0]

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._folded = None  # device, dtype or layout may have changed
        return self

    def fingerprint(self) -> str:
        """Hash the weights (sha256, hex): the same on every device and in every memory format."""
        return hash_weights(self.net.state_dict())


def _is_hooked(part: nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks)


def _mark(stale: list[bool], *_: Any) -> None:
    stale.append(True)


def _restandardize(name: str, weights: str) -> nn.Module:
    """Convert the standardisation from ImageNet's constants to those of the tag's weights.

    Only the name decides, because that is what a checkpoint stores; without a tag, ImageNet's constants
    are used.
    """
    wanted = timm.get_pretrained_cfg(name)
    if wanted is None or (tuple(wanted.mean), tuple(wanted.std)) == (IMAGENET_MEAN, IMAGENET_STD):
        return nn.Identity()
    if "." not in name:
        if weights == "pretrained":
            raise ConfigError(
                f"backbone {name!r} does not say which weights: give its tag, {name}.{wanted.tag}."
            )
        return nn.Identity()
    constants = zip(wanted.mean, wanted.std, IMAGENET_MEAN, IMAGENET_STD, strict=True)
    shifts = [((mean - mean0) / std0, std / std0) for mean, std, mean0, std0 in constants]
    return Normalize(*zip(*shifts, strict=True))


@lru_cache  # once
def _warn_of_resizing(
    name: str, patch: int, size: tuple[int, int], fitting: tuple[int, int]
) -> None:
    if fitting != size:
        before, after = (f"{height}x{width}" for height, width in (size, fitting))
        _log.warning(
            "%s sees images at %s, not %s, because its patches have %d pixels.",
            name,
            after,
            before,
            patch,
        )
