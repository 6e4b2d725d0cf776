"""Optimisers and schedules that a system may have instead of SGD with constant rates."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

_WARM_UP = 0.05  # share of the steps
_LAST = 0.01  # share of the rate that is left at the end


def adamw(
    groups: Sequence[dict[str, Any]], *, momentum: float, weight_decay: float, fused: bool
) -> Optimizer:
    """AdamW without weight decay of biases and norms, which have one dimension.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.

    Args:
        groups: `params` and `lr` of each group.
        momentum: beta_1; beta_2 is 0.999.
        weight_decay: of weights with two dimensions or more.
        fused: see torch.optim.AdamW.
    """
    divided = [
        {
            **group,
            "params": [p for p in group["params"] if (p.ndim > 1) == decays],
            "weight_decay": by,
        }
        for group in groups
        for decays, by in ((True, weight_decay), (False, 0.0))
    ]
    return AdamW(divided, betas=(momentum, 0.999), fused=fused)


def warm_up_and_cosine(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Raise the rates linearly over the first twentieth of the steps, then lower them along a cosine.

    Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts.

    Args:
        optimizer: with the rates; the schedule rises to 1.01 times these and ends at 0.01 times.
        steps: of the training.
    """
    # Unlike a local function, it can be pickled.
    return LambdaLR(optimizer, partial(_factor, steps))


def _factor(steps: int, step: int) -> float:
    warm_up = max(1, int(_WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return 0.5 * (1 + math.cos(math.pi * done)) + _LAST
