"""Parts of several networks: convolutions with batch norm, resizing, initialisation."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padseg.errors import ConfigError


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate maps (B, C, h, w) bilinearly to a (height, width); unchanged if they have it already."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


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


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Chain a convolution without bias (same size at stride 1), batch norm and ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
