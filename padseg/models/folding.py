"""Frozen networks with their batch norms folded into the convolutions before them."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Exact types: subclasses may compute with other weights than those they store.
_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


class Fold(NamedTuple):
    """Names of a convolution and of the batch norm that reads its output."""

    convolution: str
    norm: str


def find_folds(net: nn.Module) -> tuple[Fold, ...]:
    """Find the batch norms of a network whose input is the output of a convolution.

    Args:
        net: maps images (B, 3, H, W) to features. It is run once, on the meta device.
    """
    net = copy.deepcopy(net).to("meta").eval()
    made: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept, so that no number is reused
    folds: list[Fold] = []

    def remember(name: str, output: Tensor) -> None:
        made[id(output)] = (name, output)

    def match(name: str, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            folds.append(Fold(made[id(inputs[0])][0], name))

    for name, part in net.named_modules():
        if type(part) in _CONVOLUTIONS:
            part.register_forward_hook(lambda _, __, output, name=name: remember(name, output))
        elif type(part) in _NORMS:
            part.register_forward_pre_hook(lambda _, inputs, name=name: match(name, inputs))
    with torch.no_grad():
        net(torch.empty(1, 3, 64, 64, device="meta"))
    return tuple(folds)


def fold_batch_norms(net: nn.Module, folds: Sequence[Fold]) -> nn.Module:
    """A copy of a network in eval mode, without the batch norms of `folds`.

    Returns:
        The copy in channels_last; only rounding differs.
    """
    with torch.inference_mode(False), torch.no_grad():
        net = copy.deepcopy(net)
        for name, norm_name in folds:
            convolution, norm = net.get_submodule(name), net.get_submodule(norm_name)
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            net.set_submodule(name, fuse_conv_bn_eval(convolution, norm))
            rest = (norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else ()
            net.set_submodule(norm_name, nn.Sequential(*rest))
        return net.requires_grad_(False).to(memory_format=torch.channels_last)
