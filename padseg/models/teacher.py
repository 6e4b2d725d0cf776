"""The frozen teacher, any timm backbone that returns a list of features, and the normalisation before it."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import timm
import torch
from timm.layers.format import Format
from torch import Tensor, nn

from padseg.errors import CheckpointError, ConfigError
from padseg.models.folding import Fold, find_folds, fold_batch_norms
from padseg.models.weight_files import hash_weights, load_weights, read_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS_OPTION = "--model.weights (with `padseg run`: --weights)"


class FeaturePair(NamedTuple):
    """Features of a teacher and its student for the same images, level by level, fine to coarse.

    Attributes:
        teacher: features (B, C_k, h_k, w_k).
        student: the same.
        usual: mean and standard deviation of the logarithmic distance of normal images for each level and
            place, (2, levels, h, w); None for students that do not know them.
    """

    teacher: list[Tensor]
    student: list[Tensor]
    usual: Tensor | None = None


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

    A plain name such as "resnet18" means other weights in each generation of timm, so spell out the tag.
    Its images are standardised like those on which the weights of the tag were trained.

    Args:
        name: timm model with its weight tag.
        weights: "pretrained" (timm's hub), "random" (from torch's global seed), or the path of a
            .safetensors file or of a state dict saved by torch. Additional weights are ignored.
        reductions: strides of the required levels, in input pixels per feature pixel.
        option: the option for a weight file, for messages.
        fold: compute with the batch norms folded into the convolutions, which is faster and differs by
            rounding alone. Weights, checkpoints and exported networks stay as they are.

    Attributes:
        channels: channels of each level.
        folds: the batch norms that are folded.

    Raises:
        ConfigError: timm has no such model, or it has no pyramid with these levels, or the weights of a
            plain name need another standardisation than ImageNet's.
        CheckpointError: the weights are unreachable, unreadable or made for another backbone.
    """

    def __init__(
        self,
        name: str = "resnet18.tv_in1k",
        weights: str = "pretrained",
        reductions: Sequence[int] = (4, 8, 16),
        option: str = WEIGHTS_OPTION,
        fold: bool = False,
    ) -> None:
        super().__init__()
        levels = _find_levels(name, reductions)
        self.restandardize = _restandardize(name, weights)
        if weights == "pretrained":
            self.net = _from_hub(name, levels, option)
        else:
            self.net = timm.create_model(name, features_only=True, out_indices=levels)
            if weights != "random":
                load_weights(self.net, read_weights(weights), name, weights)
        info: Any = self.net.feature_info
        self.channels: tuple[int, ...] = tuple(info.channels())
        _drop_unread_blocks(self.net)
        self.folds: tuple[Fold, ...] = ()
        if fold:
            net = copy.deepcopy(self.net).to("meta").eval()
            self.folds = find_folds(net, torch.empty(1, 3, 64, 64, device="meta"))
        self._folded: tuple[nn.Module] | None = None  # a tuple hides it from checkpoints
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: Lightning switches every module, and the BN statistics would drift."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to features (B, C_k, h_k, w_k), fine to coarse."""
        features: list[Tensor] = self._quick_net()(self.restandardize(image))
        return features

    def _quick_net(self) -> nn.Module:
        if not self.folds:
            return self.net
        if self._folded is None:
            with torch.inference_mode(False):
                folded = copy.deepcopy(self.net).requires_grad_(False)
                fold_batch_norms(folded, self.folds)
                self._folded = (folded.to(memory_format=torch.channels_last),)
        return self._folded[0]

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._folded = None  # device, dtype or layout may have changed
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._folded = None
        super()._load_from_state_dict(*args, **kwargs)

    def fingerprint(self) -> str:
        """Hash the weights (sha256, hex): the same on every device and in every memory format."""
        return hash_weights(self.net)


def _find_levels(name: str, reductions: Sequence[int]) -> tuple[int, ...]:
    """The indices of these resolutions in timm, which counts a ResNet's stem as a level; a ConvNeXt has none.

    Raises:
        ConfigError: the backbone does not exist, is not a pyramid or has other resolutions.
    """
    try:
        # Without memory, to distinguish a wrong name from a missing weight file.
        with torch.device("meta"):
            net = timm.create_model(name, features_only=True)
    except Exception as error:  # timm has no error class
        raise ConfigError(
            f"backbone {name!r} cannot be built as a feature pyramid ({error}); choose a convolutional "
            "model of timm.list_models(), such as 'resnet18.tv_in1k'."
        ) from error
    if getattr(net, "output_fmt", Format.NCHW) != Format.NCHW:
        raise ConfigError(
            f"backbone {name!r} puts the channels of its features last; choose a convolutional one."
        )
    info: Any = net.feature_info
    found = dict(zip(info.reduction(), info.out_indices, strict=True))
    if not set(reductions) <= set(found):
        has, wanted = (", ".join(f"1/{number}" for number in of) for of in (found, reductions))
        raise ConfigError(
            f"backbone {name!r} has its levels at {has} of the resolution; choose one with {wanted}."
        )
    return tuple(found[reduction] for reduction in reductions)


def _drop_unread_blocks(net: nn.Module) -> None:
    """Remove what comes after the last level: timm's EfficientNets would compute it."""
    info: Any = net.feature_info
    room, _, last = info.module_name()[-1].partition(".")
    blocks = getattr(net, room, None)
    if isinstance(blocks, nn.Sequential) and last.isdigit():
        setattr(net, room, blocks[: int(last) + 1])


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


def _from_hub(name: str, levels: tuple[int, ...], option: str) -> nn.Module:
    try:
        net: nn.Module = timm.create_model(
            name, features_only=True, out_indices=levels, pretrained=True
        )
    except Exception as error:  # the network, the cache, the disk, or a tag without weights
        raise CheckpointError(
            f"the pretrained weights of {name} cannot be downloaded from the timm hub "
            f"({type(error).__name__}); give a local file with {option}."
        ) from error
    return net
