"""AFF: attentional feature fusion. Dai et al., "Attentional Feature Fusion", WACV 2021."""

import torch
from torch import Tensor, nn

from padseg.models.layers import full_precision, require_batch
from padseg.names import GATES, Gates
from padseg.options import one_of


class AFF(nn.Module):
    """Attentional feature fusion 2 x w + 2 y (1 - w), w = sigmoid(local(x + y) + globe(x + y)).

    `local` works on every pixel, `globe` on the mean over all pixels. The factor 2 comes from the authors'
    code, not from the formula: with it, w = 0.5 is plain addition. 4,576 parameters at C = 64, 265,984
    at C = 512. Training needs two or more images, because `globe` has one value per image.

    By default, the last BNs start at zero, so the module starts as plain addition. If they start at one,
    as in the authors' code, the first weights are random, and the gradient through both branches of sixteen
    blocks explodes: training oscillates, and the result depends on the step at which it ends.

    Args:
        channels: C of both inputs and of the output.
        gates: whether the weights w start "neutral", at 0.5, or "random".

    Raises:
        ConfigError: gates has an unknown value.
    """

    def __init__(self, channels: int, gates: Gates = "neutral") -> None:
        super().__init__()
        one_of("gates", gates, GATES)
        hidden = max(1, channels // 4)
        self.local = _bottleneck(channels, hidden, gates)
        self.globe = _bottleneck(channels, hidden, gates)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse the residual x and the shortcut y, both (B, C, h, w), to (B, C, h, w)."""
        require_batch(self, x)
        total = x + y
        # Rounding before the BN would remove the differences between the images of a batch.
        dtype = next(self.globe.parameters()).dtype
        pooled = total.mean(dim=(2, 3), keepdim=True, dtype=dtype)
        with full_precision(pooled):
            globe: Tensor = self.globe(pooled)
        local: Tensor = self.local(total)
        weight = torch.sigmoid(local + globe.to(local.dtype))
        return 2 * torch.lerp(y.to(weight.dtype), x.to(weight.dtype), weight)


def _bottleneck(channels: int, hidden: int, gates: Gates) -> nn.Sequential:
    last = nn.BatchNorm2d(channels)
    if gates == "neutral":
        nn.init.zeros_(last.weight)
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, channels, 1),
        last,
    )
