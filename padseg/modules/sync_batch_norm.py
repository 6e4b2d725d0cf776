"""BatchNorm over several devices."""

from lightning.pytorch.plugins import TorchSyncBatchNorm
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
