"""Masks from the `noise` package, the second back-end.

Its `pnoise2` is Perlin's improved noise (Perlin, "Improving noise", SIGGRAPH 2002): 16 fixed
gradients, 12 along the axes and 4 diagonals of length sqrt(2), behind a fixed permutation of 256
entries, so that a draw can only choose the place in it. It is called once per pixel, so it runs in
data workers.

Without scaling, its masks would be a third as large as those of unit gradients times sqrt(2): 1.5 % of
the canvas instead of 4.9 %, and 16 % of the masks would be empty instead of 5 %. So the noise is scaled
to the same standard deviation for any number of octaves; then 5.0 % of the canvas is masked and 7 % of
the masks are empty (96x96, 1200 draws).
"""

import math

import numpy as np
import torch
from torch import Tensor

from padseg.synthesis.draws import draw_geometry
from padseg.synthesis.params import SynthesisParams

_PERIOD = 256


def lattice_noise_mask(
    rng: np.random.Generator,
    params: SynthesisParams,
    size: tuple[int, int],
    foreground: Tensor | None = None,
) -> Tensor:
    """Draw and evaluate one mask.

    Lattice, rotation, threshold and retries are those of the "perlin" back-end. Whether the sample gets
    a defect is not decided here: multiply by `draw`'s `present`.

    Args:
        rng: the generator of this sample alone. Each candidate calls it in this order: the two
            exponents, the rotation, the place in the table; further candidates are drawn only
            while the mask is empty.
        params: what to draw from.
        size: height and width in pixels.
        foreground: (H, W) uint8, 1 where a defect may lie; None for anywhere.

    Returns:
        (1, H, W) float32 on the CPU, 1 where the noise is above the threshold, on the foreground, else
        0.
    """
    mask = torch.zeros((1, *size))
    for _ in range(params.retries + 1):
        cells, rotation = draw_geometry(rng, params)
        origin = rng.integers(0, _PERIOD, 2)
        noise = lattice_noise(origin, cells, rotation, size, params.octaves)
        mask = torch.from_numpy(noise > params.threshold).float()[None]
        if foreground is not None:
            mask *= foreground
        if mask.any():
            break
    return mask


def lattice_noise(
    origin: np.ndarray[tuple[int], np.dtype[np.int64]],
    cells: tuple[int, int],
    rotation: tuple[float, float],
    size: tuple[int, int],
    octaves: int = 1,
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Evaluate `pnoise2` at the pixels of a canvas, rotated about its centre.

    Args:
        origin: (2,) position (row, column) of the canvas's upper left corner in the table.
        cells: lattice cells along (rows, columns).
        rotation: cosine and sine of the angle.
        size: height and width in pixels.
        octaves: number of octaves.

    Returns:
        (H, W) float32 noise, scaled as described above; 0 where the rotated canvas extends beyond the
        original one.
    """
    from noise import pnoise2  # compiled where it is installed, and needed by this back-end alone

    height, width = size
    cos, sin = rotation
    row = (np.arange(height) - (height - 1) / 2)[:, None]
    column = (np.arange(width) - (width - 1) / 2)[None, :]
    y = row * cos + column * sin + (height - 1) / 2
    x = column * cos - row * sin + (width - 1) / 2
    inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    ys = (y[inside] * (cells[0] / height) + origin[0]).tolist()
    xs = (x[inside] * (cells[1] / width) + origin[1]).tolist()
    noise = np.zeros(size, dtype=np.float32)
    noise[inside] = [pnoise2(v, u, octaves) for v, u in zip(ys, xs, strict=True)]
    return noise * np.float32(_gain(octaves))


def _gain(octaves: int) -> float:
    # The mean squared gradient is (12 * 1 + 4 * 2) / 16. `pnoise2` divides the sum of the octaves
    # by the sum of their amplitudes, but the deviation grows with the root of the sum of squares.
    amplitudes = [0.5**octave for octave in range(octaves)]
    unit = math.sqrt(2 / (20 / 16))
    return unit * sum(amplitudes) / math.sqrt(sum(a * a for a in amplitudes))
