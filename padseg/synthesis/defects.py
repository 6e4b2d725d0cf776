"""A synthetic defect from its draw to the corrupted image.

Each kind of mask is two functions: `draw` makes the random choices of one sample in a data worker, and
`masks` turns a collated batch of them into masks on the device of the batch. What a kind computes pixel
by pixel on the CPU belongs into the first, what runs in one batch into the second. A further kind is a
file with these two functions, its name in `padseg.names` and an entry in `MASKS`;
`--data.synthesis.backend` then selects it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from padseg.names import NoiseBackend
from padseg.synthesis.blend import blend
from padseg.synthesis.draws import SynthesisParams, draw
from padseg.synthesis.lattice_noise import lattice_noise_mask
from padseg.synthesis.perlin import perlin_mask

Draws = dict[str, Tensor]
Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class MaskKind:
    """How one kind of mask comes about.

    Attributes:
        draw: From the sample's own generator, the parameters, the size and, if defects are kept on it, the
            foreground, (H, W) uint8, to the draws of the sample: CPU tensors that default collation can
            stack, `opacity` (see `padseg.synthesis.draw`) among them. They depend on the generator alone.
        masks: From a batch of draws, the parameters and the size to (B, 1, H, W) float32 masks, 1 on the
            defect, else 0.
    """

    draw: Callable[[np.random.Generator, SynthesisParams, Size, Tensor | None], Draws]
    masks: Callable[[Draws, SynthesisParams, Size], Tensor]


def draw_defect(
    rng: np.random.Generator, params: SynthesisParams, size: Size, foreground: Tensor | None = None
) -> Draws:
    """Make every random choice of one sample's defect.

    Args:
        rng: The generator of this sample alone.
        params: What to draw from.
        size: (H, W) in pixels.
        foreground: (H, W) uint8, 1 where a defect may lie; None for anywhere. What is drawn does not
            depend on it.

    Returns:
        CPU tensors that default collation can stack, for `corrupt`.
    """
    return MASKS[params.backend].draw(rng, params, size, foreground)


def corrupt(
    clean: Tensor, texture: Tensor, draws: Draws, params: SynthesisParams
) -> tuple[Tensor, Tensor]:
    """Paint the drawn defects into a batch of images.

    Args:
        clean: (B, 3, H, W) float32, within 0 to 1.
        texture: (B, 3, H, W) float32, within 0 to 1.
        draws: What `draw_defect` returns, collated, on the device of the images.
        params: The parameters that they were drawn with.

    Returns:
        The corrupted images, (B, 3, H, W) float32, and the masks, (B, 1, H, W) float32, 1 on the defect.
        Outside the mask the corrupted image has the very bits of the clean one.
    """
    height, width = clean.shape[-2:]
    mask = MASKS[params.backend].masks(draws, params, (height, width))
    return blend(clean, texture, mask, draws["opacity"]), mask


def _draw_perlin(
    rng: np.random.Generator, params: SynthesisParams, size: Size, foreground: Tensor | None
) -> Draws:
    draws = draw(rng, params)
    return draws if foreground is None else {**draws, "foreground": foreground}


def _draw_lattice_noise(
    rng: np.random.Generator, params: SynthesisParams, size: Size, foreground: Tensor | None
) -> Draws:
    draws = draw(rng, params)
    mask = lattice_noise_mask(rng, params, size, foreground)
    return {"opacity": draws["opacity"], "mask": mask * draws["present"]}


def _drawn_masks(draws: Draws, params: SynthesisParams, size: Size) -> Tensor:
    return draws["mask"]


MASKS: dict[NoiseBackend, MaskKind] = {
    "perlin": MaskKind(_draw_perlin, perlin_mask),
    "noise": MaskKind(_draw_lattice_noise, _drawn_masks),
}
