"""Synthetic defects: Perlin masks and texture blending, pure functions on tensors."""

from padseg.synthesis.blend import blend
from padseg.synthesis.lattice_noise import lattice_noise_mask
from padseg.synthesis.perlin import SynthesisParams, draw, perlin_mask, perlin_noise

__all__ = [
    "SynthesisParams",
    "blend",
    "draw",
    "lattice_noise_mask",
    "perlin_mask",
    "perlin_noise",
]
