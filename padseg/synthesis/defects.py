"""Synthetic defects, from the draw to the corrupted image, and the kinds of masks that come with padseg."""

import numpy as np
import torch
from torch import Tensor

from padseg.synthesis.blend import blend
from padseg.synthesis.draws import draw
from padseg.synthesis.fills import Scene
from padseg.synthesis.kinds import MASKS, MIXED, Draws, MaskKind, Size, register
from padseg.synthesis.lattice_noise import lattice_noise_mask
from padseg.synthesis.mixture import draw_mixture, paint_mixture
from padseg.synthesis.params import SynthesisParams
from padseg.synthesis.perlin import perlin_mask

# Pixels painted at a time. On a CPU, what a chunk writes on its way should stay in the cache.
_CHUNK_CPU = 2**19


def draw_defect(
    rng: np.random.Generator,
    params: SynthesisParams,
    scene: Scene,
    foreground: Tensor | None = None,
) -> Draws:
    """Make every random choice of one sample's defect.

    Args:
        rng: A generator for this sample alone.
        params: The parameters of the defects.
        scene: The image that gets the defect, and what it can be filled with.
        foreground: (H, W) uint8, 1 where a defect may lie; None for anywhere. The draws do not depend
            on it.

    Returns:
        CPU tensors that default collation can stack, for `corrupt`; among them `texture`, (H, W, 3) uint8,
        the picture that fills the defect.
    """
    if params.backend == MIXED:
        return draw_mixture(rng, params, scene, foreground)
    size = (scene.image.shape[0], scene.image.shape[1])
    draws = MASKS[params.backend].draw(rng, params, size, foreground)
    return {"texture": torch.from_numpy(scene.texture), **draws}


def corrupt(
    clean: Tensor, texture: Tensor, draws: Draws, params: SynthesisParams
) -> tuple[Tensor, Tensor]:
    """Paint the drawn defects into a batch of images.

    Args:
        clean: (B, 3, H, W) float32, within 0 to 1.
        texture: (B, 3, H, W) float32, within 0 to 1.
        draws: The output of `draw_defect`, collated, on the device of the images.
        params: The parameters that they were drawn with.

    Returns:
        The corrupted images, (B, 3, H, W) float32, and the masks, (B, 1, H, W) float32, 1 on the defect.
        Outside the mask, the corrupted image equals the clean one bit for bit, except where a defect of
        the back-end "mixed" has a soft edge.
    """
    count, _, height, width = clean.shape
    step = max(1, _CHUNK_CPU // (height * width)) if clean.device.type == "cpu" else count
    if count <= step:
        return _corrupt(clean, texture, draws, params)
    corrupted, mask = torch.empty_like(clean), torch.empty_like(clean[:, :1])
    for first in range(0, count, step):
        part = slice(first, first + step)
        of_part = {name: value[part] for name, value in draws.items()}
        corrupted[part], mask[part] = _corrupt(clean[part], texture[part], of_part, params)
    return corrupted, mask


def _corrupt(
    clean: Tensor, texture: Tensor, draws: Draws, params: SynthesisParams
) -> tuple[Tensor, Tensor]:
    if params.backend == MIXED:
        return paint_mixture(clean, texture, draws, params)
    mask = MASKS[params.backend].masks(draws, params, (clean.shape[-2], clean.shape[-1]))
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


register("perlin", MaskKind(_draw_perlin, perlin_mask))
register("noise", MaskKind(_draw_lattice_noise, lambda draws, params, size: draws["mask"]))
