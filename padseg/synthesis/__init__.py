"""Synthetic defects: Perlin masks and texture blending, pure functions on tensors."""

from padseg.synthesis.blend import blend
from padseg.synthesis.defects import corrupt, draw_defect
from padseg.synthesis.draws import SynthesisParams, draw
from padseg.synthesis.kinds import MaskKind, register
from padseg.synthesis.lattice_noise import lattice_noise_mask
from padseg.synthesis.perlin import perlin_mask, perlin_noise

__all__ = [
    "MaskKind",
    "SynthesisParams",
    "blend",
    "corrupt",
    "draw",
    "draw_defect",
    "lattice_noise_mask",
    "perlin_mask",
    "perlin_noise",
    "register",
]
