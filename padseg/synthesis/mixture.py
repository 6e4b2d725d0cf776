"""Defects of many shapes and fills, with hard or soft edges.

All random choices of a sample are made in a data worker, from its own generator: the shape and its mask
(except for Perlin masks, which the device evaluates in one batch), the fill and its picture, and the
width of the edge. The device mixes them. It adds, multiplies and gathers only, and its means are sums of
whole numbers, so that a sample has the same bits in any batch.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from padseg.synthesis.blend import blend
from padseg.synthesis.draws import draw
from padseg.synthesis.edges import edge_taps, soften
from padseg.synthesis.fills import FILLS, Fill, Scene
from padseg.synthesis.kinds import Draws
from padseg.synthesis.params import PERLIN, SynthesisParams
from padseg.synthesis.perlin import perlin_mask, selects_samples
from padseg.synthesis.shapes import SHAPES

_SIGMA = (0.4, 1.6)  # of soft edges, in pixels at a shorter side of 256
_ZONE_TONE = 0.6  # share of the zones that change the tone, whatever the weights of the fills
_STEPS = 1024  # a mean counts steps of 1/1024, whose sum does not depend on their order


def draw_mixture(
    rng: np.random.Generator,
    params: SynthesisParams,
    scene: Scene,
    foreground: Tensor | None = None,
) -> Draws:
    """Make every random choice of one sample's defect, and the pictures that they lead to.

    The arguments are those of `draw_defect`.

    Returns:
        CPU tensors that default collation can stack, for `paint_mixture`: those of `draw`, where `present`
        says whether there is a Perlin mask; `drawn`, (H, W) uint8, the mask of any other shape; `texture`,
        (H, W, 3) uint8, the picture of the fill, and its `opacity`, `gain`, `share` and `shift`; `taps`,
        the weights of the edge; and `foreground`, if any.
    """
    mixture, size = params.mixture, (scene.image.shape[0], scene.image.shape[1])
    draws = draw(rng, params)
    shape = _pick(rng, mixture.shapes)
    drawn = np.zeros(size, np.uint8)
    if shape != PERLIN and draws["present"]:
        drawn = SHAPES[shape](rng, size)
    kind = _pick(rng, mixture.fills)
    if shape == "zone" and mixture.fills.get("tone") and rng.random() < _ZONE_TONE:
        kind = "tone"
    fill = FILLS[kind](rng, scene, params.opacity)
    scale = max(min(size) / 256, 0.6)
    sigma = rng.uniform(*_SIGMA) * scale if rng.random() < mixture.soft_edges else 0.0
    draws |= {
        "present": draws["present"] & (shape == PERLIN),
        "drawn": torch.from_numpy(drawn),
        "taps": edge_taps(sigma, _SIGMA[1] * scale),
        **_as_tensors(fill),
    }
    if foreground is not None:
        draws |= {"drawn": draws["drawn"] * foreground, "foreground": foreground}
    return draws


def paint_mixture(
    clean: Tensor, texture: Tensor, draws: Draws, params: SynthesisParams
) -> tuple[Tensor, Tensor]:
    """Paint the drawn defects into a batch of images; `texture` are the pictures of the fills.

    The arguments are those of `corrupt`.

    Returns:
        The corrupted images, (B, 3, H, W) float32, within 0 to 1, and the masks, (B, 1, H, W) float32, 1 on
        the defect, else 0. Soft edges reach a few pixels beyond the mask. A sample whose defect cannot be
        seen has an empty mask and its clean image.
    """
    height, width = clean.shape[-2:]
    mask = perlin_mask(draws, params, (height, width)).add_(draws["drawn"][:, None])
    fill = _filled(clean, texture, mask, draws)
    alpha = _alpha(mask, draws["taps"])
    corrupted = blend(clean, fill, alpha, draws["opacity"])
    change = (corrupted - clean).abs_().amax(1, keepdim=True)
    seen = _mean_under(mask, change)[:, 0, None, None, None] >= params.mixture.visible
    return torch.where(seen, corrupted, clean), mask.mul_(seen)


def _filled(clean: Tensor, texture: Tensor, mask: Tensor, draws: Draws) -> Tensor:
    colour = draws["share"][:, None] * _mean_under(mask, clean) + draws["shift"]
    filled = texture * draws["gain"][:, None, None, None]
    return filled.add_(colour[:, :, None, None]).clamp_(0, 1)


def _alpha(mask: Tensor, taps: Tensor) -> Tensor:
    if not selects_samples(mask.device):
        return soften(mask, taps)
    soft = taps[:, 0] < 1
    alpha = mask.clone()
    alpha[soft] = soften(mask[soft], taps[soft])
    return alpha


def _mean_under(mask: Tensor, values: Tensor) -> Tensor:
    """Mean of (B, C, H, W) values within 0 to 1 where the mask is 1: (B, C); 0 where it is empty."""
    # The sum of a row is below 2^24 and so exact in any order.
    total = (values * mask).mul_(_STEPS).round_().sum(-1).to(torch.int64).sum(-1)
    area = mask.sum(-1).to(torch.int64).sum(-1)
    return total.float() / (area * _STEPS).clamp_(min=1).float()


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    names, bounds = list(weights), np.cumsum([*weights.values()])
    return names[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]


def _as_tensors(fill: Fill) -> Draws:
    numbers = {"opacity": fill.opacity, "gain": fill.gain, "share": fill.share}
    shift = np.broadcast_to(np.asarray(fill.shift, np.float32), 3).copy()
    return {
        **{name: torch.tensor(value, dtype=torch.float32) for name, value in numbers.items()},
        "shift": torch.from_numpy(shift),
        "texture": torch.from_numpy(fill.picture),
    }
