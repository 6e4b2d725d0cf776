"""Perlin masks: where a synthetic defect lies.

Source: Zavrtanik, Kristan and Skocaj, "DRAEM - A discriminatively trained reconstruction embedding
for surface anomaly detection", ICCV 2021; with the settings of Zhang, Li, Li, Huang, Shan and Chen,
"DeSTSeg: Segmentation guided denoising student-teacher for anomaly detection", CVPR 2023.

A mask takes two steps. `draw` makes every random choice of one sample on the CPU, from the sample's
own generator, as a few small tensors. `perlin_mask` turns a batch of them into masks on whatever
device they lie on. The second step adds, multiplies, rounds down and gathers, and nothing else, so
that a mask has the same bits alone, in any batch and in any chunk of one.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from padseg.errors import ConfigError
from padseg.names import NOISE_BACKENDS, NoiseBackend
from padseg.options import one_of

# Points evaluated at a time. On a CPU the dozen buffers of a chunk should stay in its cache; on an
# accelerator the bound keeps 32 masks of 1024x1024 within some hundred MiB of scratch memory.
_CHUNK_CPU = 2**16
_CHUNK_DEVICE = 2**23

_MAX_EXPONENT = 8


@dataclass(frozen=True)
class SynthesisParams:
    """How synthetic defects are drawn; the defaults are those of DeSTSeg.

    Attributes:
        exponents: smallest and largest exponent e, both included; the lattice has 2^e cells along
            an axis, and each axis draws its own e. Within 0 to 8.
        threshold: a pixel is masked where the noise, which lies within -1 to 1, is above this.
            From 0 to below 1, so that what the rotation uncovers (noise 0) is never masked.
        rotation: the noise is turned by an angle drawn uniformly from -rotation to +rotation, in
            degrees, within 0 to 180.
        opacity: smallest and largest opacity of the texture inside the mask, drawn uniformly;
            0 leaves the image, 1 shows the texture alone.
        probability: share of the samples that get a defect, 0 to 1. An empty mask still occurs.
        retries: number of further lattices to try when a mask comes out empty, 0 or more.
        backend: "perlin" draws random unit gradients and evaluates them in a batch; "noise" reads
            the fixed gradient table of the `noise` package, pixel by pixel, in the data workers.
        octaves: number of octaves that the "noise" back-end adds up, each with twice the
            frequency and half the amplitude of the one before; 1 to 8. "perlin" has one.

    Raises:
        ConfigError: a field is outside its range.
    """

    exponents: tuple[int, int] = (0, 5)
    threshold: float = 0.5
    rotation: float = 90.0
    opacity: tuple[float, float] = (0.2, 1.0)
    probability: float = 1.0
    retries: int = 0
    backend: NoiseBackend = "perlin"
    octaves: int = 1

    def __post_init__(self) -> None:
        # Each test is written so that a NaN fails it.
        _demand(
            _are_ints(self.exponents, 2)
            and 0 <= self.exponents[0] <= self.exponents[1] <= _MAX_EXPONENT,
            "exponents",
            self.exponents,
            f"two whole numbers, the smaller first, within 0 to {_MAX_EXPONENT}",
        )
        _demand(0 <= self.threshold < 1, "threshold", self.threshold, "from 0 to below 1")
        _demand(0 <= self.rotation <= 180, "rotation", self.rotation, "within 0 to 180 degrees")
        _demand(
            len(self.opacity) == 2 and 0 <= self.opacity[0] <= self.opacity[1] <= 1,
            "opacity",
            self.opacity,
            "two numbers, the smaller first, within 0 to 1",
        )
        _demand(0 <= self.probability <= 1, "probability", self.probability, "within 0 to 1")
        _demand(
            _are_ints((self.retries,), 1) and self.retries >= 0,
            "retries",
            self.retries,
            "a whole number, 0 or more",
        )
        one_of("Synthesis option backend", self.backend, NOISE_BACKENDS)
        _demand(
            _are_ints((self.octaves,), 1) and 1 <= self.octaves <= 8,
            "octaves",
            self.octaves,
            "a whole number within 1 to 8",
        )
        _demand(
            self.octaves == 1 or self.backend == "noise",
            "octaves",
            self.octaves,
            'left at 1 unless backend is "noise"',
        )


def _are_ints(values: tuple[object, ...], count: int) -> bool:
    return len(values) == count and all(type(value) is int for value in values)


def _demand(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"Synthesis option {field} is {value!r}, but must be {rule}.")


def draw(rng: np.random.Generator, params: SynthesisParams) -> dict[str, Tensor]:
    """Make every random choice of one sample.

    The calls to `rng` come in this order and number, whatever their outcome: presence, opacity,
    then for each candidate lattice its two exponents (rows, columns), its rotation and its angles.
    So a sample depends on its generator alone, and more retries leave the first candidates as they
    were. For the "noise" back-end only presence and opacity are drawn; see `lattice_noise_mask`.

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


def perlin_noise(
    gradients: Tensor, cells: Tensor, rotation: Tensor, size: tuple[int, int]
) -> Tensor:
    """Evaluate gradient noise at the pixels of a canvas, turned about its centre.

    Pixel p of P lies at lattice coordinate p * cells / P; the four corner products are blended with
    the fade 6t^5 - 15t^4 + 10t^3 and scaled by sqrt(2), not periodically, as DRAEM does. Instead of
    resampling a picture of the noise, the pixels' coordinates are turned, which costs less and does
    not smooth: at 32 x 32 cells on 256 x 256 pixels 4.8 % is above 0.5, and 4.4 % after resampling.
    A positive angle turns the picture counter-clockwise, like `torch.rot90`.

    Args:
        gradients: (N, L, L, 2) float32, unit vectors (row part, column part).
        cells: (N, 2) float32, lattice cells along (rows, columns), each at most L - 1.
        rotation: (N, 2) float32, cosine and sine of the angle.
        size: height and width in pixels; any.

    Returns:
        (N, H, W) float32 noise within about -1 to 1; 0 where the turned canvas shows what lies
        outside the original one.
    """
    count, side = gradients.shape[:2]
    height, width = size
    device = gradients.device
    noise = torch.empty((count, height, width), dtype=torch.float32, device=device)
    # One flat table per part: the lattices of a chunk are reached by an offset in the index.
    tables = gradients.movedim(-1, 0).reshape(2, count, side * side).contiguous()
    # By numbers: a tensor made here would be copied to a GPU, and the host would wait for it.
    scale = torch.stack([cells[:, 0] / height, cells[:, 1] / width], dim=1)
    row = torch.arange(height, dtype=torch.float32, device=device).sub_((height - 1) / 2)
    column = torch.arange(width, dtype=torch.float32, device=device).sub_((width - 1) / 2)

    points = _CHUNK_CPU if device.type == "cpu" else _CHUNK_DEVICE
    samples_step = max(1, points // max(1, height * width))
    rows_step = max(1, points // max(1, width))
    for first in range(0, count, samples_step):
        samples = slice(first, first + samples_step)
        for top in range(0, height, rows_step):
            rows = slice(top, top + rows_step)
            noise[samples, rows] = _evaluate(
                tables[:, samples], side, scale[samples], rotation[samples], row[rows], column, size
            )
    return noise


def _evaluate(
    tables: Tensor,
    side: int,
    scale: Tensor,
    rotation: Tensor,
    row: Tensor,
    column: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Evaluate one chunk; in place where it can be, as memory traffic is most of the cost."""
    cos, sin = rotation[:, 0, None, None], rotation[:, 1, None, None]
    row, column = row[:, None], column[None, :]
    y = (row * cos + column * sin).add_((size[0] - 1) / 2)
    x = (column * cos - row * sin).add_((size[1] - 1) / 2)
    v, u = y.clamp(0, size[0] - 1), x.clamp(0, size[1] - 1)
    inside = y.eq_(v).mul_(x.eq_(u))

    v.mul_(scale[:, 0, None, None])
    u.mul_(scale[:, 1, None, None])
    cell_v, cell_u = v.floor(), u.floor()
    v.sub_(cell_v)
    u.sub_(cell_u)
    index = cell_v.mul_(side).add_(cell_u).to(torch.int64)
    if tables.shape[1] > 1:
        index += torch.arange(tables.shape[1], device=index.device)[:, None, None] * side**2
    index = index.flatten()
    vertical, horizontal = tables[0].flatten(), tables[1].flatten()

    def corner(v: Tensor, u: Tensor, offset: int) -> Tensor:
        # `index_select` on one dimension: `take` and `gather` cost three times as much on a CPU.
        product = vertical[offset:].index_select(0, index).view_as(v).mul_(v)
        return product.add_(horizontal[offset:].index_select(0, index).view_as(u).mul_(u))

    fade_v, fade_u = _fade(v), _fade(u)
    u_far = u - 1
    noise = _blend_(corner(v, u, 0), corner(v, u_far, 1), fade_u)
    v.sub_(1)
    lower = _blend_(corner(v, u, side), corner(v, u_far, side + 1), fade_u)
    return _blend_(noise, lower, fade_v).mul_(math.sqrt(2)).mul_(inside)


def _fade(t: Tensor) -> Tensor:
    return (t * 6).sub_(15).mul_(t).add_(10).mul_(t).mul_(t).mul_(t)


def _blend_(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    # Not `lerp` or `addcmul`: their vector and scalar code may round differently, so that a pixel's
    # bits would depend on where in the batch it lies.
    return first.add_(second.sub_(first).mul_(weight))


def perlin_mask(draws: dict[str, Tensor], params: SynthesisParams, size: tuple[int, int]) -> Tensor:
    """Turn a batch of draws into masks.

    Args:
        draws: what `draw` returns, each with a leading batch dimension B; optionally `foreground`,
            (B, H, W) uint8, 1 where a defect may lie.
        params: the parameters they were drawn with.
        size: height and width in pixels.

    Returns:
        (B, 1, H, W) float32, 1 where the noise of the first candidate with any such pixel is above
        the threshold, on the foreground, else 0; all 0 where no defect is present or every candidate
        is empty.
    """
    present, gradients = draws["present"], draws["gradients"]
    cells, rotation = draws["cells"], draws["rotation"]
    mask = torch.zeros((len(present), *size), dtype=torch.float32, device=gradients.device)
    wanted = present
    selects = _can_be_asked(gradients.device)
    for candidate in range(gradients.shape[1]):
        if candidate > 0:
            wanted = present & (mask.amax((1, 2)) == 0)
        rows = wanted if selects else slice(None)
        noise = perlin_noise(
            gradients[rows, candidate], cells[rows, candidate], rotation[rows, candidate], size
        )
        found = noise.gt_(params.threshold)
        if "foreground" in draws:
            found.mul_(draws["foreground"][rows])
        if selects:
            mask[rows] = found
        else:
            mask += found.mul_(wanted[:, None, None])
    return mask[:, None]


def _can_be_asked(device: torch.device) -> bool:
    # Only an accelerator itself knows which samples are wanted; asking would make the host wait.
    return device.type == "cpu"
