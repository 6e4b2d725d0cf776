"""What several networks are made of: convolutions with batch norm, resizing, and their start."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padseg.errors import ConfigError


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate maps (B, C, h, w) bilinearly to a (height, width); as they are if they fit."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Leave autocast for a few cheap operations that lose in low precision."""
    # Not entered without autocast: an exporter would record the region.
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def require_batch(module: nn.Module, x: Tensor) -> None:
    """Refuse to train a batch norm of globally pooled features on one image: it has no variance.

    Raises:
        ConfigError: the module is in train mode and the batch holds one image.
    """
    if module.training and x.shape[0] < 2:
        raise ConfigError("batch_size is 1; training this network takes 2 or more images a batch.")


def kaiming_init(module: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from Kaiming's normal, biases 0.

    Fan-out, gain of ReLU: torchvision's and timm's start of a ResNet. Batch norms are left at 1
    and 0, transposed convolutions at PyTorch's own start.
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
