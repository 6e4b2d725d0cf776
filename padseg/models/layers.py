"""Parts of several networks: convolutions with batch norm, resizing, initialisation."""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from padseg.errors import ConfigError


def resize_to(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Interpolate maps (B, C, h, w) bilinearly to a (height, width); unchanged if they have it already."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def smooth_to(x: Tensor, size: tuple[int, int], deviations: tuple[float, float]) -> Tensor:
    """Interpolate maps bilinearly and smooth the result with a Gaussian filter, reflected at the borders.

    Both are linear and separable, so that each axis is one product with a matrix. Exporters that quantise
    convolutions leave those alone.

    Args:
        x: maps (B, C, h, w).
        size: (H, W) of the result.
        deviations: standard deviation of the filter along each axis, in pixels of the result.

    Returns:
        (B, C, H, W), float32.
    """
    with full_precision(x):
        x = x.float()
        for length, deviation in zip(reversed(size), reversed(deviations), strict=True):
            matrix = torch.from_numpy(_smoothing(x.shape[-1], length, deviation))
            if matrix.device != x.device:  # else an exporter would fix the device
                matrix = matrix.to(x.device, non_blocking=True)
            x = (x @ matrix).transpose(-1, -2)
    return x


# The compiler would trace NumPy's functions, and fails in inference mode.
@torch.compiler.disable  # type: ignore[untyped-decorator]
@lru_cache(maxsize=16)
def _smoothing(length: int, target: int, deviation: float) -> NDArray[np.float32]:
    """What maps a row of `length` pixels to a smooth one of `target`, (length, target)."""
    center = np.maximum((np.arange(target) + 0.5) * length / target - 0.5, 0)
    triangle = np.maximum(
        1 - np.abs(np.minimum(center, length - 1) - np.arange(length)[:, None]), 0
    )
    reach = int(3 * deviation + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    reflected = np.pad(triangle, ((0, 0), (reach, reach)), "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(reflected, len(weights), axis=1)
    return np.ascontiguousarray(windows @ (weights / weights.sum()), np.float32)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Leave autocast for a few cheap operations that suffer from low precision."""
    # Not entered without autocast, because exporters would record the region.
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def require_batch(module: nn.Module, x: Tensor) -> None:
    """Reject training a batch norm of globally pooled features on one image, which has no variance.

    Raises:
        ConfigError: the module is in training mode and the batch has one image.
    """
    if module.training and x.shape[0] < 2:
        raise ConfigError(
            "batch_size is 1; training this network needs 2 or more images per batch."
        )


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution outside autocast: in bfloat16, different scores would become equal."""

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Conv2d, in float32."""
        with full_precision(x):
            return super().forward(x.float())


def kaiming_init(module: nn.Module) -> None:
    """Initialise convolutions and linear layers Kaiming-normal, with biases 0.

    With fan-out and the gain of ReLU, as torchvision and timm initialise a ResNet. Batch norms stay at 1
    and 0, and transposed convolutions at PyTorch's default.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
