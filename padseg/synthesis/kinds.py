"""The kinds of masks of synthetic defects by name; `--data.synthesis.backend` selects one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from padseg.errors import ConfigError

if TYPE_CHECKING:
    from padseg.synthesis.params import SynthesisParams

Draws = dict[str, Tensor]
Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class MaskKind:
    """One kind of mask.

    `draw` makes the random choices of one sample in a data worker, and `masks` turns a collated batch of
    these into masks on the device of the batch. Put computations pixel by pixel on the CPU into the first
    and batched ones into the second.

    Attributes:
        draw: Takes the sample's own generator, the parameters, the size and, if defects stay on it, the
            foreground, (H, W) uint8. Returns the draws of the sample: CPU tensors that default collation
            can stack, including `opacity` (see `padseg.synthesis.draw`). They depend only on the generator.
        masks: Takes a batch of draws, the parameters and the size. Returns (B, 1, H, W) float32 masks, 1
            on the defect, else 0.
    """

    draw: Callable[[np.random.Generator, "SynthesisParams", Size, Tensor | None], Draws]
    masks: Callable[[Draws, "SynthesisParams", Size], Tensor]


MIXED = "mixed"
"""The back-end that mixes shapes and fills instead."""
MASKS: dict[str, MaskKind] = {}


def register(name: str, kind: MaskKind) -> None:
    """Add a kind of mask; one of the same name is replaced.

    Raises:
        ConfigError: The name is that of the back-end that mixes shapes and fills.
    """
    if name == MIXED:
        raise ConfigError(
            f"{name!r} is the mixture of shapes and fills: register your kind of mask under another name."
        )
    MASKS[name] = kind
