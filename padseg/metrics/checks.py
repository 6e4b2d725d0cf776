"""Checks of the input of metrics.

Checks of shapes and types raise at once. Checks of values set a flag on the device, the index of the
first bad image, so that no update waits for the device; on the CPU, they raise at once too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from padseg.errors import PadsegError

ArrayLike = Tensor | NDArray[Any]
NONE_BAD = 2**62
"""Larger than any image index, so that the minimum over several processes is the first bad image."""


class MetricInputError(PadsegError, ValueError):
    """Scores, masks or labels from which no metric can be computed."""


def as_tensor(name: str, given: Any, device: torch.device) -> Tensor:
    """Return a tensor as it is and a NumPy array as a tensor on `device`; raise MetricInputError for others."""
    if isinstance(given, Tensor):
        return given
    if not isinstance(given, np.ndarray | np.generic):
        raise MetricInputError(
            f"{name} must be a tensor or a NumPy array, got {type(given).__name__}."
        )
    try:
        return torch.from_numpy(np.ascontiguousarray(given).copy()).to(device)
    except TypeError as error:  # text or objects
        raise MetricInputError(
            f"{name} must hold numbers, got an array of {given.dtype}."
        ) from error


def describe(tensor: Tensor) -> str:
    """Return dtype, shape and device in words for an error message."""
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"


def check_scores(name: str, scores: Tensor, device: torch.device) -> None:
    """Raise MetricInputError unless `scores` are floating and on the device of the metric."""
    if not scores.is_floating_point():
        raise MetricInputError(
            f"{name} must be floating (float16, bfloat16, float32 or float64), got {describe(scores)}."
        )
    if scores.device != device:
        raise MetricInputError(
            f"{name} is {describe(scores)} but the metric is on {device}: call"
            f" metric.to('{scores.device}') before the first update."
        )


def check_companion(name: str, given: Tensor, beside: str, scores: Tensor) -> None:
    """Raise MetricInputError unless `given` is real and on the device of the scores."""
    if given.is_complex():
        raise MetricInputError(f"{name} must be bool, integer or floating, got {describe(given)}.")
    if given.device != scores.device:
        raise MetricInputError(
            f"{name} and {beside} must be on one device, got {name} {describe(given)} and {beside}"
            f" {describe(scores)}."
        )


def comparable(given: Tensor) -> Tensor:
    """Detach; convert unsigned integers of 16 bits and more, which torch cannot compare, to int64."""
    wide = given.dtype in (torch.uint16, torch.uint32, torch.uint64)
    return given.detach().long() if wide else given.detach()


def as_maps(name: str, maps: Tensor) -> Tensor:
    """Return (B, 1, H, W) or (B, H, W) maps as (B, H, W); raise MetricInputError for other shapes."""
    if maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps.squeeze(1)
    if maps.ndim != 3 or not maps.shape[1] * maps.shape[2]:
        raise MetricInputError(
            f"{name} must have the shape (B, 1, H, W) or (B, H, W), got {describe(maps)}."
        )
    return maps


def check_same_shape(name: str, given: Tensor, beside: str, scores: Tensor) -> None:
    """Raise MetricInputError unless both have one shape."""
    if given.shape != scores.shape:
        raise MetricInputError(
            f"{name} must have the shape of {beside}, one value per score: got {name}"
            f" {describe(given)} and {beside} {describe(scores)}."
        )


def first_bad(bad: Tensor, offset: Tensor) -> Tensor:
    """Return the index of the first image with any True, without waiting for the device.

    Args:
        bad: Bool (B, ...), B at least 1.
        offset: Int64 (), images seen before.

    Returns:
        Int64 (), counted from `offset`; `NONE_BAD` if there is none.
    """
    count = len(bad)
    index = torch.arange(count, device=bad.device) + offset
    return torch.where(bad.reshape(count, -1).any(1), index, NONE_BAD).amin()


def raise_bad(first: Tensor, reasons: Sequence[str]) -> None:
    """Raise MetricInputError for the first reason whose flag in `first`, int64 (R,), is set."""
    for index, reason in zip(first.tolist(), reasons, strict=True):
        if index < NONE_BAD:
            raise MetricInputError(
                f"Image {index}, counted from 0 since the last reset on its process, {reason}."
            )
