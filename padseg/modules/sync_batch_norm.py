"""BatchNorm over several devices.

Each device keeps running statistics of the images that it has seen, which differ unless BatchNorm is synchronised.
Training does not use them. Evaluations, thresholds and checkpoints use those of the first device.
"""

import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from lightning.pytorch.strategies import Strategy
from torch import nn

LOCAL_FROM = 8
"""With this many images or more, a device uses its own statistics; tests/benchmarks/README.md has the figures."""


def layer_sync(batch_size: int) -> "TrainedSyncBatchNorm | None":
    """What synchronises BatchNorm between devices; None where each device has enough images of its own.

    Synchronising makes the devices wait for each other, and the host for them, in each of 39 to 151 layers.

    Args:
        batch_size: Images of a step on one device.
    """
    return None if batch_size >= LOCAL_FROM else TrainedSyncBatchNorm()


def prepare(strategy: Strategy, batch_size: int) -> None:
    """Set what the devices exchange, before Lightning wraps the module.

    Args:
        strategy: Of the Trainer; one for a single device is left alone.
        batch_size: Images of a step on one device.
    """
    if getattr(strategy, "_layer_sync", None) is not None:
        strategy._layer_sync = layer_sync(batch_size)  # type: ignore[attr-defined]
    if (options := getattr(strategy, "_ddp_kwargs", None)) is not None:
        # Else every step would begin with the statistics of the first device.
        options.setdefault("broadcast_buffers", False)


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
