"""Losses of the student and of the segmentation network, in float32 even inside autocast."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padseg.names import LOSS_REDUCTIONS, LossReduction
from padseg.options import one_of

_EPS = 1e-12


def _length(feature: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(feature, dim=1, keepdim=True)
    return length + _EPS


def normalized_product(teacher: Tensor, student: Tensor) -> Tensor:
    """Multiply the two features of every pixel after scaling both to unit length.

    A feature n(F) = F / (|F| + 1e-12) of zeros stays zero.

    Args:
        teacher: features (B, C, h, w), any float dtype.
        student: features of the same shape.

    Returns:
        Products (B, C, h, w), float32; their sum over C is the cosine similarity.
    """
    teacher, student = teacher.float(), student.float()
    return (teacher / _length(teacher)) * (student / _length(student))


def cosine_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Return one minus the cosine similarity over the channels, pixel by pixel.

    This is half of STPM's squared distance of the normalised features. Dividing the sums gives the
    sum of `normalized_product` without its two intermediate maps.

    Args:
        teacher: features (B, C, h, w), any float dtype.
        student: features of the same shape.

    Returns:
        Distances (B, h, w), float32, in [0, 1]; 1 where one of the two features is zero.
    """
    return _distance(teacher, student).clamp(0, 1)


def _distance(teacher: Tensor, student: Tensor) -> Tensor:
    """`cosine_distance`, but up to 2 where features point in opposite directions, as they can without ReLU."""
    teacher, student = teacher.float(), student.float()
    lengths = (_length(teacher) * _length(student)).squeeze(1)
    return 1 - (teacher * student).sum(dim=1) / lengths


def distillation_loss(
    pairs: Sequence[tuple[list[Tensor], list[Tensor], *tuple[Any, ...]]],
    reduction: LossReduction = "batch_sum",
    scale: float = 1.0,
) -> Tensor:
    """Sum the spatial means of the cosine distances over pairs and levels.

    The systems differ: DeSTSeg sums over the batch (scale 1), and so does RSTPM (half of the squared
    distance); STPM averages over the batch and uses the whole squared distance (scale 2).

    Args:
        pairs: (teacher, student) feature lists, each level (B, C, h, w); the rest of each is ignored.
        reduction: "batch_sum" or "mean" over the images.
        scale: factor of the result.

    Returns:
        Scalar float32; per image in [0, scale * pairs * levels], twice that for features without ReLU.

    Raises:
        ConfigError: the reduction is unknown.
    """
    one_of("loss_reduction", reduction, LOSS_REDUCTIONS)
    distances = [
        # Not clamped, because features that point in opposite directions would not learn.
        _distance(t, s).mean(dim=(1, 2))
        for teacher, student, *_ in pairs
        for t, s in zip(teacher, student, strict=True)
    ]
    per_image = scale * torch.stack(distances).sum(dim=0)
    return per_image.sum() if reduction == "batch_sum" else per_image.mean()


def resize_mask(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring a mask to a map's size: bilinear without antialias, then 1 where >= 0.5.

    Args:
        mask: (B, 1, H, W), bool or numbers in [0, 1].
        size: (h, w) in pixels.

    Returns:
        (B, 1, h, w) float32 of zeros and ones.
    """
    mask = mask.float()
    if mask.shape[-2:] != size:
        mask = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
    return (mask >= 0.5).float()


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 4.0) -> Tensor:
    """Average -(1 - p)^gamma log p over all pixels, p the probability of the true class.

    Lin et al. 2017, without class weights. 1 - p is computed from the cross entropy of the logits, so
    that it is stable for large logits and in low precision.

    Args:
        logits: (B, 1, h, w), any float dtype.
        target: zeros and ones of the same shape.
        gamma: focusing exponent.

    Returns:
        Scalar float32, >= 0.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(
        logits.float(), target.float(), reduction="none"
    )
    return (-torch.expm1(-cross_entropy)).pow(gamma).mul(cross_entropy).mean()


def segmentation_loss(
    logits: Tensor,
    mask: Tensor,
    gamma: float = 4.0,
    focal_weight: float = 1.0,
    l1_weight: float = 1.0,
) -> Tensor:
    """Weighted sum of focal loss and mean absolute error of the segmentation network. DeSTSeg, section 3.3.

    Args:
        logits: (B, N, h, w), any float dtype: N segmentations of each image.
        mask: (B, 1, H, W), bool or numbers in [0, 1]; resized to the logits.
        gamma: exponent of the focal loss.
        focal_weight: factor of the focal loss.
        l1_weight: factor of |sigmoid(logits) - mask|, averaged over all pixels.

    Returns:
        Scalar float32, >= 0.
    """
    target = resize_mask(mask, logits.shape[-2:]).expand_as(logits)
    focal = focal_loss(logits, target, gamma)
    l1 = (torch.sigmoid(logits.float()) - target).abs().mean()
    return focal_weight * focal + l1_weight * l1
