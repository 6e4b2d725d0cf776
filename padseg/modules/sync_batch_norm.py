"""BatchNorm over several devices.

Each device keeps running statistics of the images that it has seen, which differ unless BatchNorm is synchronised.
Training does not use them. Evaluations, thresholds and checkpoints use those of the first device.
"""

import inspect

import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

LOCAL_FROM = 8
"""With this many images or more, a device's own statistics serve; tests/benchmarks/README.md has the figures.

Synchronising makes the devices wait for each other, and the host for them, in each of 39 to 151 layers.
"""
# torch 2.14 has renamed the option.
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


def prepare(strategy: Strategy) -> None:
    """Set what the devices exchange, before Lightning wraps the module.

    Args:
        strategy: Of the Trainer; one for a single device is left alone.
    """
    if getattr(strategy, "_layer_sync", None) is not None:
        strategy._layer_sync = TrainedSyncBatchNorm()  # type: ignore[attr-defined]
    options = getattr(strategy, "_ddp_kwargs", None)
    if options is not None and "broadcast_buffers" not in options:
        # Else every step would begin with the statistics of the first device.
        options.setdefault(_BUFFERS, False)


def take_statistics_of_first(module: nn.Module) -> None:
    """Replace the buffers of a module by those of the first of the processes, all of which call this."""
    for buffer in module.buffers():
        torch.distributed.broadcast(buffer, src=0)


class TrainedSyncBatchNorm(TorchSyncBatchNorm):
    """Synchronises over devices only the BatchNorms that are trained.

    Those of a frozen teacher collect no statistics. PyTorch would replace them too, and those of timm,
    which include an activation, would lose it: the student would learn from another network.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the norms in place."""
        for module in list(model.modules()):
            for name, child in module.named_children():
                norm = isinstance(child, nn.modules.batchnorm._BatchNorm)
                if norm and child.weight.requires_grad:
                    module.add_module(name, super().apply(child))
        return model
