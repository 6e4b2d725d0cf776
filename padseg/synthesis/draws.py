"""Parameters of synthetic defects, and all random choices of one sample.

Source: Zavrtanik, Kristan and Skocaj, "DRAEM - A discriminatively trained reconstruction embedding
for surface anomaly detection", ICCV 2021; with the settings of Zhang, Li, Li, Huang, Shan and Chen,
"DeSTSeg: Segmentation guided denoising student-teacher for anomaly detection", CVPR 2023.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from padseg.errors import ConfigError
from padseg.options import one_of
from padseg.synthesis.kinds import MASKS

_MAX_EXPONENT = 8


@dataclass(frozen=True)
class SynthesisParams:
    """How synthetic defects are drawn; the defaults are those of DeSTSeg.

    Attributes:
        exponents: smallest and largest exponent e, both inclusive; the lattice has 2^e cells along an
            axis, and each axis draws its own e. Within 0 to 8.
        threshold: a pixel is masked if the noise, within -1 to 1, is above this. From 0 to below 1, so
            that the corners that the rotation uncovers (noise 0) are never masked.
        rotation: the noise is rotated by an angle drawn uniformly from -rotation to +rotation, in
            degrees, within 0 to 180.
        opacity: smallest and largest opacity of the texture inside the mask, drawn uniformly;
            0 leaves the image unchanged, 1 shows only the texture.
        probability: share of the samples that get a defect, 0 to 1. Their masks can still be empty.
        retries: number of further lattices to try if a mask is empty, 0 or more.
        backend: "perlin" draws random unit gradients and evaluates them in a batch; "noise" reads
            the fixed gradient table of the `noise` package, pixel by pixel, in the data workers;
            a registered kind of mask has its own name.
        octaves: number of octaves of the "noise" back-end, each with twice the frequency and half the
            amplitude of the one before; 1 to 8. "perlin" has one.

    Raises:
        ConfigError: a field is outside its range.
    """

    exponents: tuple[int, int] = (0, 5)
    threshold: float = 0.5
    rotation: float = 90.0
    opacity: tuple[float, float] = (0.2, 1.0)
    probability: float = 1.0
    retries: int = 0
    backend: str = "perlin"
    octaves: int = 1

    def __post_init__(self) -> None:
        # Each test is written so that a NaN fails it.
        _require(
            _are_ints(self.exponents, 2)
            and 0 <= self.exponents[0] <= self.exponents[1] <= _MAX_EXPONENT,
            "exponents",
            self.exponents,
            f"two whole numbers, the smaller first, within 0 to {_MAX_EXPONENT}",
        )
        _require(0 <= self.threshold < 1, "threshold", self.threshold, "from 0 to below 1")
        _require(0 <= self.rotation <= 180, "rotation", self.rotation, "within 0 to 180 degrees")
        _require(
            len(self.opacity) == 2 and 0 <= self.opacity[0] <= self.opacity[1] <= 1,
            "opacity",
            self.opacity,
            "two numbers, the smaller first, within 0 to 1",
        )
        _require(0 <= self.probability <= 1, "probability", self.probability, "within 0 to 1")
        _require(
            _are_ints((self.retries,), 1) and self.retries >= 0,
            "retries",
            self.retries,
            "a whole number, 0 or more",
        )
        one_of("Synthesis option backend", self.backend, MASKS)
        _require(
            _are_ints((self.octaves,), 1) and 1 <= self.octaves <= 8,
            "octaves",
            self.octaves,
            "a whole number within 1 to 8",
        )
        _require(
            self.octaves == 1 or self.backend == "noise",
            "octaves",
            self.octaves,
            'left at 1 unless backend is "noise"',
        )


def _are_ints(values: tuple[object, ...], count: int) -> bool:
    return len(values) == count and all(type(value) is int for value in values)


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"Synthesis option {field} is {value!r}, but must be {rule}.")


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
