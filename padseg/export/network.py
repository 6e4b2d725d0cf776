"""A trained module as one network: images of any size in; score map, score and verdict out."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from padseg.errors import ConfigError
from padseg.models import Teacher
from padseg.models.backbones import Transformer
from padseg.models.folding import find_folds, fold_batch_norms
from padseg.modules import AnomalyModule

_STEP = 2.0**11  # half the 22 bits that Pillow gives a weight: products with uint8 stay exact


class Deployed(nn.Module):
    """Pre-processing, network and thresholds of a module, ready for an exporter.

    Args:
        module: The module; it is copied, its BatchNorms are folded into the convolutions, and the position
            embeddings of transformers are resized.
        half: Keep the weights in float16; they are widened to float32 before they are used.

    Raises:
        ConfigError: `half`, and a weight is too large for float16.
    """

    def __init__(self, module: AnomalyModule, half: bool = False) -> None:
        super().__init__()
        self.size = module.image_size
        # A threshold for the highest score of an image's tiles does not apply to whole images.
        known = module.calibration
        self.calibration = known if known and known.tile is None else None
        self.module = copy.deepcopy(module).cpu().eval()
        _fold_and_fix_size(self.module, self.size)
        # The layout in files; torch.export warns about weights in another one.
        self.module.to(memory_format=torch.contiguous_format)
        self.module.requires_grad_(False)
        if half:
            _halve(self.module)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Score images.

        Args:
            image: RGB, (B, H, W, 3) uint8; any B, H and W.

        Returns:
            `score_map` (B, 1, height, width) float32 in [0, 1], at the size of the network;
            `image_score` (B,) float32; if the module is calibrated without tiles, also `score` (B,)
            and `normalised_map`, like the raw ones with the thresholds at 0.5, and `anomalous` (B,) bool.
        """
        pixels = resize(image.permute(0, 3, 1, 2).float(), self.size)
        scores: dict[str, Tensor] = self.module(pixels / 255)
        if self.calibration is not None:
            image_score = scores["image_score"]
            scores["score"] = self.calibration.image_scale.of(image_score)
            scores["normalised_map"] = self.calibration.pixel_scale.of(scores["score_map"])
            scores["anomalous"] = image_score > self.calibration.image_threshold
        return scores


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize like Pillow's bilinear filter, bit for bit, with operations that every runtime has.

    Args:
        image: (B, C, H, W) float32, whole numbers from 0 to 255.
        size: (height, width) in pixels.

    Returns:
        (B, C, height, width) float32, whole numbers from 0 to 255. An image that has the size already comes out
        unchanged; to leave it out of the computation would save 3 to 6 % of TEDSeg's time, but needs a branch, with
        which OpenVINO answers wrongly to the first images of each number (2026.4).
    """
    # Pillow rounds to whole numbers between its two passes.
    rows = _apply(resize_weights(image, image.shape[3], size[1]), image).transpose(2, 3)
    return _apply(resize_weights(image, image.shape[2], size[0]), rows).transpose(2, 3).contiguous()


def resize_weights(image: Tensor, length: int, target: int) -> Tensor:
    """Pillow's weights of `length` pixels in each of `target` ones, (target, length) float64.

    A triangle over the source, widened when it shrinks, in units of 2^-22; on the device of an image.
    """
    scale = length / target
    center = _centers(image, target) * scale
    pixel = _centers(image, length)
    reach: Any = torch.sym_max(scale, 1.0)  # a number, or an exporter's symbol
    distance = (pixel - center[:, None]).abs() / reach
    triangle: Tensor = (1 - distance).clamp(min=0)
    share: Tensor = triangle / triangle.sum(dim=1, keepdim=True)
    return (share * _STEP**2 + 0.5).floor()


def _centers(image: Tensor, count: int) -> Tensor:
    """0.5, 1.5, ...: `arange` would always be on the device that the network was exported on."""
    return image.new_ones(count, dtype=torch.float64).cumsum(0) - 0.5


def _apply(weights: Tensor, image: Tensor) -> Tensor:
    """Weight the last dimension and round, in integers that float32 holds exactly."""
    coarse = (weights / _STEP).floor()
    fine = weights - coarse * _STEP
    both = image @ torch.cat([coarse, fine]).float().T
    target = weights.shape[0]
    carry = (both[..., target:] / _STEP).floor()
    return ((both[..., :target] + carry + _STEP / 2) / _STEP).floor()


def _fold_and_fix_size(module: AnomalyModule, size: tuple[int, int]) -> None:
    """Fold the BatchNorms of a module in place, for images of this (height, width), and fix transformers to it."""
    hooks = []
    for part in module.modules():
        if isinstance(part, Teacher):
            part.folds = ()  # it would compute with a folded copy of its own, which is not exported
        elif isinstance(part, Transformer):
            # OpenVINO resizes position embeddings differently, by 2 % (2026.4).
            hooks.append(part.register_forward_pre_hook(_set_size))
    fold_batch_norms(module, find_folds(module, torch.zeros(1, 3, *size)))
    for hook in hooks:
        hook.remove()


def _set_size(part: nn.Module, images: tuple[Tensor]) -> None:
    assert isinstance(part, Transformer)
    part.set_size((images[0].shape[-2], images[0].shape[-1]))


class _Widen(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


def _halve(module: nn.Module) -> None:
    for part in list(module.modules()):
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            weight = part.weight.data.half()
            if not weight.isfinite().all():
                raise ConfigError(
                    "--half: a weight of the network exceeds float16; export without --half."
                )
            part.weight.data = weight
            parametrize.register_parametrization(part, "weight", _Widen(), unsafe=True)
