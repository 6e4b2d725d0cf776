"""Score maps and image scores from the distances of teacher and student, or from a segmentation."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from padseg.losses import cosine_distance
from padseg.models.layers import resize_to, smooth_to
from padseg.models.teacher import FeaturePair

_LEAST_DISTANCE = 1e-3
_SMOOTHING = 1 / 128  # standard deviation of the filter, as a share of the image


def distance_map(
    pairs: Sequence[FeaturePair], size: tuple[int, int], *, at_input: bool = False
) -> Tensor:
    """Fuse the distances into one map: the mean over pairs, then the product over levels.

    STPM and DeSTSeg multiply at the size of the finest level (1/4), RSTPM at that of the input.

    Args:
        pairs: the output of StudentTeacher.
        size: (H, W) of the map.
        at_input: multiply at `size`, not at the size of the finest level.

    Returns:
        (B, 1, H, W), float32, in [0, 1].
    """
    places = size if at_input else pairs[0].teacher[0].shape[-2:]
    each = [
        [
            resize_to(cosine_distance(t, s)[:, None], places)
            for t, s in zip(pair.teacher, pair.student, strict=True)
        ]
        for pair in pairs
    ]
    means = [torch.stack(maps).mean(dim=0) for maps in zip(*each, strict=True)]
    return resize_to(reduce(torch.mul, means), size).clamp(0, 1)


def log_distances(pair: FeaturePair, size: tuple[int, ...]) -> Tensor:
    """Logarithm of the cosine distance of each level, not less than that of 0.001.

    Args:
        pair: an output of StudentTeacher.
        size: (h, w) to which the logarithms are interpolated.

    Returns:
        (B, levels, h, w), float32.
    """
    levels = zip(pair.teacher, pair.student, strict=True)
    maps = [cosine_distance(t, s).clamp(min=_LEAST_DISTANCE).log()[:, None] for t, s in levels]
    return torch.cat([resize_to(x, size) for x in maps], dim=1)


def mean_distance_map(pairs: Sequence[FeaturePair], size: tuple[int, int]) -> Tensor:
    """The geometric mean of the distances of each pair's levels and then of all pairs, smoothed by a Gaussian filter.

    The arithmetic mean would follow the coarse levels, whose distances are the largest.

    Args:
        pairs: the output of StudentTeacher.
        size: (H, W) of the map.

    Returns:
        (B, 1, H, W), float32, in [0, 1].
    """
    height, width = (max(pair.teacher[0].shape[dim] for pair in pairs) for dim in (-2, -1))
    means = [log_distances(pair, (height, width)).mean(dim=1, keepdim=True) for pair in pairs]
    return _smooth(torch.stack(means).mean(dim=0).exp(), size)


def distance_weighted_map(
    logits: Tensor, size: tuple[int, int], pairs: Sequence[FeaturePair]
) -> Tensor:
    """Probabilities of a segmentation times the distances, which rank what both see.

    Args:
        logits: (B, 1, h, w), any float dtype.
        size: (H, W) of the map.
        pairs: the output of StudentTeacher.

    Returns:
        (B, 1, H, W), float32, in [0, 1].
    """
    return _smooth(logits.float().sigmoid(), size) * mean_distance_map(pairs, size)


def _smooth(x: Tensor, size: tuple[int, int]) -> Tensor:
    return smooth_to(x, size, (size[0] * _SMOOTHING, size[1] * _SMOOTHING)).clamp(0, 1)


def probability_map(
    logits: Tensor, size: tuple[int, int], pairs: Sequence[FeaturePair] = ()
) -> Tensor:
    """Upsample the probabilities of a segmentation.

    Args:
        logits: (B, 1, h, w), any float dtype.
        size: (H, W) of the map.
        pairs: the output of StudentTeacher, for maps that use it; not used here.

    Returns:
        (B, 1, H, W), float32, in [0, 1].
    """
    return resize_to(logits.float().sigmoid(), size)


def map_at_size(score_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring score maps to another size bilinearly, with antialiasing where they shrink.

    Args:
        score_map: (B, 1, h, w) float32 in [0, 1].
        size: (H, W).

    Returns:
        (B, 1, H, W) float32 in [0, 1]; the maps themselves if they have the size already.
    """
    if score_map.shape[-2:] == size:
        return score_map
    shrinks = size[0] < score_map.shape[-2] or size[1] < score_map.shape[-1]
    return functional.interpolate(score_map, size, mode="bilinear", antialias=shrinks).clamp(0, 1)


def image_score(score_map: Tensor, top_k: int, pairs: Sequence[FeaturePair] = ()) -> Tensor:
    """Average the highest pixels of each map: 100 in DeSTSeg, one in STPM.

    Args:
        score_map: (B, 1, H, W), any float dtype.
        top_k: number of pixels; all of them if the map has fewer.
        pairs: the output of StudentTeacher, for rules that use it; not used here.

    Returns:
        (B,) float32, in the range of the map.
    """
    pixels = score_map.flatten(1).float()
    return pixels.topk(min(top_k, pixels.shape[1]), dim=1).values.mean(dim=1)
