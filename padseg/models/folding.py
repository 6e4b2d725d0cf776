"""Batch norms of a trained network, folded into the convolutions before them."""

from collections import defaultdict
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

# Exact types: subclasses may compute with other weights than those they store.
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


class Fold(NamedTuple):
    """Names of a convolution and of the batch norm that reads its output."""

    convolution: str
    norm: str


def find_folds(net: nn.Module, image: Tensor) -> tuple[Fold, ...]:
    """Find the batch norms whose input is the output of a convolution that nothing else reads.

    They are found from the tensors that flow, not from names.

    Args:
        net: In eval mode; it is run once.
        image: (B, 3, H, W) that the network takes, on its device.
    """
    made: dict[str, list[_Flow]] = defaultdict(list)  # by convolution
    read: dict[str, list[_Flow]] = defaultdict(list)  # by batch norm
    flows = _Flows()
    hooks = []
    for name, part in net.named_modules():
        if type(part) in _CONVOLUTIONS:
            hook = part.register_forward_hook(
                lambda _, __, output, name=name: made[name].append(flows.find(output))
            )
        elif type(part) in _NORMS:
            hook = part.register_forward_pre_hook(
                lambda _, given, name=name: read[name].append(flows.find(given[0]))
            )
        else:
            continue
        hooks.append(hook)
    with torch.no_grad(), flows:
        flows.count(net(image))
    for hook in hooks:
        hook.remove()
    return tuple(
        Fold(convolution, norm)
        for norm, inputs in read.items()
        for convolution, outputs in made.items()
        if inputs == outputs and all(flow.reads == 1 for flow in outputs)
    )


@dataclass(eq=False)
class _Flow:
    """A tensor of a forward pass: how often it is read, also by what changes it in place."""

    reads: int = 0


class _Flows(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what reads each tensor, without keeping it in memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._flows: MutableMapping[Tensor, _Flow] = WeakTensorKeyDictionary()

    def find(self, tensor: Tensor) -> _Flow:
        return self._flows.setdefault(tensor, _Flow())

    def count(self, values: Any) -> None:
        """Count a read of each tensor among nested values."""
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                self.find(value).reads += 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count((args, kwargs))
        if func is torch.ops.aten.native_batch_norm.default and args[0].is_meta:
            # Without values, the shape is all that is needed; PyTorch would take dozens of operations.
            return torch.empty_like(args[0]), *(args[0].new_empty(0) for _ in range(2))
        return func(*args, **(kwargs or {}))


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
