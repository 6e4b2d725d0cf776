"""All random choices of one sample's mask.

Source: Zavrtanik, Kristan and Skocaj, "DRAEM - A discriminatively trained reconstruction embedding
for surface anomaly detection", ICCV 2021; with the settings of Zhang, Li, Li, Huang, Shan and Chen,
"DeSTSeg: Segmentation guided denoising student-teacher for anomaly detection", CVPR 2023.
"""

import math

import numpy as np
import torch
from torch import Tensor

from padseg.synthesis.params import SynthesisParams


def draw(rng: np.random.Generator, params: SynthesisParams) -> dict[str, Tensor]:
    """Make every random choice of one sample.

    The order and number of calls to `rng` do not depend on their results: presence, opacity, then for
    each candidate lattice its two exponents (rows, columns), its rotation and its angles. So a sample
    depends only on its generator, and more retries do not change the first candidates. For the "noise"
    back-end, only presence and opacity are drawn here, and the rest in `lattice_noise_mask`.

    Args:
        rng: the generator of this sample alone.
        params: what to draw from.

    Returns:
        CPU tensors that default collation can stack, with A = retries + 1 candidates and
        L = 2^(largest exponent) + 1:
        `present`, () bool, whether the sample gets a defect;
        `opacity`, () float32, opacity of the texture;
        and for the "perlin" back-end
        `gradients`, (A, L, L, 2) float32, a unit vector (row part, column part) per lattice point,
        of which the first (cells + 1) along each axis are read;
        `cells`, (A, 2) float32, number of lattice cells along (rows, columns);
        `rotation`, (A, 2) float32, cosine and sine of the angle.
    """
    present = rng.random() < params.probability
    opacity = rng.uniform(*params.opacity)
    sample = {
        "present": torch.tensor(present, dtype=torch.bool),
        "opacity": torch.tensor(opacity, dtype=torch.float32),
    }
    if params.backend == "noise":
        return sample

    candidates = params.retries + 1
    side = 2 ** params.exponents[1] + 1
    gradients = np.empty((candidates, side, side, 2), dtype=np.float32)
    cells = np.empty((candidates, 2), dtype=np.float32)
    rotation = np.empty((candidates, 2), dtype=np.float32)
    for candidate in range(candidates):
        cells[candidate], rotation[candidate] = draw_geometry(rng, params)
        angles = rng.uniform(0.0, 2.0 * math.pi, (side, side))
        np.cos(angles, out=gradients[candidate, ..., 0], casting="same_kind")
        np.sin(angles, out=gradients[candidate, ..., 1], casting="same_kind")
    sample["gradients"] = torch.from_numpy(gradients)
    sample["cells"] = torch.from_numpy(cells)
    sample["rotation"] = torch.from_numpy(rotation)
    return sample


def draw_geometry(
    rng: np.random.Generator, params: SynthesisParams
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Draw the lattice and the rotation of one candidate, in this order.

    Args:
        rng: the generator of this sample alone.
        params: what to draw from.

    Returns:
        The number of lattice cells along (rows, columns), and (cosine, sine) of the angle.
    """
    low, high = params.exponents
    rows, columns = rng.integers(low, high + 1, 2).tolist()
    angle = math.radians(rng.uniform(-params.rotation, params.rotation))
    return (2**rows, 2**columns), (math.cos(angle), math.sin(angle))
