"""The frozen teacher: any timm backbone as a list of features, and the normalisation before it."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import safetensors.torch
import timm
import torch
from timm.layers.format import Format
from torch import Tensor, nn

from padseg.errors import CheckpointError, ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS_OPTION = "--model.weights (with `padseg run`: --weights)"


class FeaturePair(NamedTuple):
    """What a teacher and its student see in the same images, level by level, fine to coarse."""

    teacher: list[Tensor]
    student: list[Tensor]


class Normalize(nn.Module):
    """Standardise RGB images in [0, 1], by default with ImageNet's mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        # Constants: no checkpoint has to hold them.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to standardised ones of the same shape."""
        return (image - self.mean).div_(self.std)


class Teacher(nn.Module):
    """A pretrained backbone that is never trained: no gradients, always in eval mode.

    Plain tags such as "resnet18" mean other weights in each timm generation; spell the tag out. The images
    it sees are standardised as those were that the tag's weights were made with.

    Args:
        name: timm model with its weight tag.
        weights: "pretrained" (timm's hub), "random" (from torch's global seed), or the path of a
            .safetensors file or of a state dict saved by torch. Surplus weights are ignored.
        reductions: input pixels per feature pixel of the wanted levels, in one direction.
        option: where a message tells the user to give a weight file.

    Attributes:
        channels: channels of each level.

    Raises:
        ConfigError: timm has no such model, or not as a pyramid with these levels; or a plain tag's weights
            want other than ImageNet's standardisation.
        CheckpointError: the weights are out of reach, unreadable or made for another backbone.
    """

    def __init__(
        self,
        name: str = "resnet18.tv_in1k",
        weights: str = "pretrained",
        reductions: Sequence[int] = (4, 8, 16),
        option: str = WEIGHTS_OPTION,
    ) -> None:
        super().__init__()
        levels = _find_levels(name, reductions)
        self.restandardize = _restandardize(name, weights)
        if weights == "pretrained":
            self.net = _from_hub(name, levels, option)
        else:
            self.net = timm.create_model(name, features_only=True, out_indices=levels)
            if weights != "random":
                _load(self.net, read_weights(weights), name, weights)
        info: Any = self.net.feature_info
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: Lightning switches every module, and BN statistics would drift."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[Tensor]:
        """Map standardised images (B, 3, H, W) to features (B, C_k, h_k, w_k), fine to coarse."""
        features: list[Tensor] = self.net(self.restandardize(image))
        return features

    def fingerprint(self) -> str:
        """Hash the weights (sha256, hex): the same on every device and in every memory format."""
        return hash_weights(self.net)


def hash_weights(net: nn.Module) -> str:
    """Hash a state dict (sha256, hex): the same on every device and in every memory format."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict without running code from it.

    Args:
        path: a .safetensors file, or any other name for what torch.save wrote.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        CheckpointError: there is no such file, or it holds anything else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"weight file {path} does not exist; give the path of a .safetensors file or of a "
            "torch state dict, or 'pretrained' for the timm hub."
        )
    try:
        state = (
            safetensors.torch.load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # both libraries raise whatever a broken file runs into
        raise CheckpointError(
            f"weight file {path} cannot be read ({type(error).__name__}); give an intact "
            ".safetensors file or a torch state dict that holds tensors only."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"weight file {path} holds something else than a state dict; save "
            "model.state_dict() and give that file."
        )
    return state


def _find_levels(name: str, reductions: Sequence[int]) -> tuple[int, ...]:
    """Where timm has these resolutions: it counts a ResNet's stem as a level, a ConvNeXt has none.

    Raises:
        ConfigError: the backbone does not exist, is no pyramid or has other resolutions.
    """
    try:
        # Without memory, to tell a wrong name from a missing weight file.
        with torch.device("meta"):
            net = timm.create_model(name, features_only=True)
    except Exception as error:  # timm has no error class of its own
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


def _restandardize(name: str, weights: str) -> nn.Module:
    """From images standardised with ImageNet's constants to those of the weights that the tag names.

    By the name alone, since that is what a checkpoint keeps: without a tag, ImageNet's hold.
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
    except Exception as error:  # network, cache, disk or a tag without weights
        raise CheckpointError(
            f"the pretrained weights of {name} cannot be fetched from the timm hub "
            f"({type(error).__name__}); give a local file with {option}."
        ) from error
    return net


def _load(net: nn.Module, state: dict[str, Tensor], name: str, path: str) -> None:
    """Copy the weights that `net` needs out of `state`.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    needed = net.state_dict()
    # Counters of batches have no effect in eval mode, and some exporters drop them.
    optional = {key for key in needed if key.endswith("num_batches_tracked")}
    source = {key: _stored_name(key, state) for key in needed}
    missing = [key for key in needed if source[key] not in state and key not in optional]
    if missing:
        raise CheckpointError(
            f"weight file {path} lacks {len(missing)} of the {len(needed) - len(optional)} weights "
            f"that {name} needs: {_summary(missing)}; give a file with all of them."
        )
    found = {key: state[source[key]] for key in needed if source[key] in state}
    wrong = [key for key, value in found.items() if value.shape != needed[key].shape]
    if wrong:
        first = wrong[0]
        raise CheckpointError(
            f"weight file {path} is not made for {name}: {_summary(wrong)} differ in shape "
            f"({first} is {tuple(found[first].shape)}, needed {tuple(needed[first].shape)}); "
            "give the file of this backbone."
        )
    net.load_state_dict(found, strict=False)


def _stored_name(key: str, state: dict[str, Tensor]) -> str:
    """Name a weight as a whole model does: timm's pyramids call `stages.0` `stages_0`."""
    top, _, rest = key.partition(".")
    return key if key in state else f"{'.'.join(top.rsplit('_', 1))}.{rest}"


def _summary(keys: Sequence[str], limit: int = 4) -> str:
    """List a few names in full, and many by the part of the network that they belong to."""
    if len(keys) <= limit:
        return ", ".join(keys)
    parts = Counter(key.split(".")[0] for key in keys)
    return ", ".join(f"{part} ({number})" for part, number in parts.items())
