"""Batch norms of a trained network, folded into the convolutions before them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Exact types: subclasses may compute with other weights than those they store.
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


class Fold(NamedTuple):
    """Names of a convolution and of the batch norm that reads its output."""

    convolution: str
    norm: str


def find_folds(net: nn.Module, image: Tensor) -> tuple[Fold, ...]:
    """Find the batch norms whose input is the output of a convolution.

    They are found from the tensors that flow, not from names.

    Args:
        net: in eval mode; it is run once.
        image: (B, 3, H, W) that the network takes, on its device.
    """
    made: list[tuple[Tensor, str]] = []
    folds: list[Fold] = []

    def keep(name: str, output: Tensor) -> None:
        made.append((output, name))

    def find(name: str, read: Tensor) -> None:
        folds.extend(Fold(convolution, name) for output, convolution in made if output is read)

    hooks = []
    for name, part in net.named_modules():
        if type(part) in _CONVOLUTIONS:
            hook = part.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        elif type(part) in _NORMS:
            hook = part.register_forward_pre_hook(lambda _, read, name=name: find(name, read[0]))
        else:
            continue
        hooks.append(hook)
    with torch.no_grad():
        net(image)
    for hook in hooks:
        hook.remove()
    return tuple(dict.fromkeys(folds))  # a part that runs twice is found twice


def fold_batch_norms(net: nn.Module, folds: Sequence[Fold]) -> None:
    """Fold batch norms in place. The network then differs by rounding alone, and only in eval mode."""
    with torch.no_grad():
        for name, norm_name in folds:
            convolution, norm = net.get_submodule(name), net.get_submodule(norm_name)
            assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
            assert isinstance(norm, nn.BatchNorm2d)
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            net.set_submodule(name, fuse_conv_bn_eval(convolution, norm, transposed))
            rest = (norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else ()
            net.set_submodule(norm_name, nn.Sequential(*rest) if rest else nn.Identity())
