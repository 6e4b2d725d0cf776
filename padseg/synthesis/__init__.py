"""Synthetic defects: masks, what fills them, and blending, pure functions on arrays and tensors."""

from padseg.synthesis.blend import blend
from padseg.synthesis.defects import corrupt, draw_defect
from padseg.synthesis.draws import draw
from padseg.synthesis.fills import Fill, Scene
from padseg.synthesis.kinds import MaskKind, register
from padseg.synthesis.lattice_noise import lattice_noise_mask
from padseg.synthesis.params import Mixture, SynthesisParams
from padseg.synthesis.perlin import perlin_mask, perlin_noise

__all__ = [
    "Fill",
    "MaskKind",
    "Mixture",
    "Scene",
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
