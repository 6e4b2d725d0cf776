"""BatchNorm over several devices."""

from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import nn


class TrainedSyncBatchNorm(TorchSyncBatchNorm):
    """Lightning's synchronisation over devices, for the norms that are trained.

    Those of a frozen teacher count nothing. PyTorch would replace them too, and with timm's, which hold an
    activation as well, that would be gone: the student would learn from another network.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the norms in place."""
        for module in list(model.modules()):
            for name, child in module.named_children():
                norm = isinstance(child, nn.modules.batchnorm._BatchNorm)
                if norm and child.weight.requires_grad:
                    module.add_module(name, super().apply(child))
        return model
