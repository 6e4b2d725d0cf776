"""Perlin masks, which determine where a synthetic defect lies.

Source: Zavrtanik, Kristan and Skocaj, "DRAEM - A discriminatively trained reconstruction embedding
for surface anomaly detection", ICCV 2021.

`draw` makes all random choices of one sample on the CPU, as a few small tensors. `perlin_mask` turns a
batch of them into masks on their device. It only adds, multiplies, rounds down and gathers, so that a mask
has the same bits alone, in any batch and in any chunk of a batch.
"""

import math

import torch
from torch import Tensor

from padseg.synthesis.params import SynthesisParams
from padseg.synthesis.rotate import rotate, rotated

# Points evaluated at a time. On a CPU, the dozen buffers of a chunk should stay in the cache; on an
# accelerator, the limit keeps 32 masks of 1024x1024 within a few hundred MiB of scratch memory.
_CHUNK_CPU = 2**16
_CHUNK_DEVICE = 2**23


def perlin_noise(
    gradients: Tensor,
    cells: Tensor,
    rotation: Tensor,
    size: tuple[int, int],
    resampled: bool = False,
) -> Tensor:
    """Evaluate gradient noise at the pixels of a canvas, rotated about its centre.

    Pixel p of P lies at lattice coordinate p * cells / P; the four corner products are blended with
    the fade 6t^5 - 15t^4 + 10t^3 and scaled by sqrt(2), without periodicity, as in DRAEM. Instead of
    resampling a picture of the noise as DRAEM does, the coordinates of the pixels are rotated, which costs less
    and does not smooth: with 32 x 32 cells on 256 x 256 pixels, 4.8 % is above 0.5, and 4.4 % after resampling.
    A positive angle rotates the picture counter-clockwise, like `torch.rot90`.

    Args:
        gradients: (N, L, L, 2) float32, unit vectors (row part, column part).
        cells: (N, 2) float32, lattice cells along (rows, columns), each at most L - 1.
        rotation: (N, 2) float32, cosine and sine of the angle.
        size: height and width in pixels; any.
        resampled: rotate a picture of the noise, as in DRAEM.

    Returns:
        (N, H, W) float32 noise within about -1 to 1; 0 where the rotated canvas extends beyond the
        original one.
    """
    if resampled:
        upright = torch.zeros_like(rotation)
        upright[:, 0] = 1
        return rotate(perlin_noise(gradients, cells, upright, size), rotation)
    count, side = gradients.shape[:2]
    height, width = size
    device = gradients.device
    noise = torch.empty((count, height, width), dtype=torch.float32, device=device)
    # One flat table per part: an offset in the index selects the lattice of a chunk.
    tables = gradients.movedim(-1, 0).reshape(2, count, side * side).contiguous()
    # As numbers: a tensor created here would be copied to the GPU, and the host would wait.
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
    """Evaluate one chunk, in place where possible, because most of the cost is memory traffic."""
    y, x = rotated(row, column, rotation, size)
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
        # `index_select` on one dimension, because `take` and `gather` cost three times as much on a CPU.
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
    # Not `lerp` or `addcmul`: their vector and scalar code may round differently, so that the bits of a
    # pixel would depend on its place in the batch.
    return first.add_(second.sub_(first).mul_(weight))


def perlin_mask(draws: dict[str, Tensor], params: SynthesisParams, size: tuple[int, int]) -> Tensor:
    """Turn a batch of draws into masks.

    Args:
        draws: the output of `draw`, with a leading batch dimension B; optionally `foreground`,
            (B, H, W) uint8, 1 where a defect may lie.
        params: the parameters they were drawn with.
        size: height and width in pixels.

    Returns:
        (B, 1, H, W) float32, 1 where the noise is above the threshold on the foreground, else 0, for the
        first candidate with any such pixel; all 0 if no defect is present or every candidate is empty.
    """
    present, gradients = draws["present"], draws["gradients"]
    cells, rotation = draws["cells"], draws["rotation"]
    mask = torch.zeros((len(present), *size), dtype=torch.float32, device=gradients.device)
    missing = present  # the samples that still need a mask
    selects = selects_samples(gradients.device)
    for candidate in range(gradients.shape[1]):
        if candidate > 0:
            missing = present & (mask.amax((1, 2)) == 0)
        rows = missing if selects else slice(None)
        noise = perlin_noise(
            gradients[rows, candidate],
            cells[rows, candidate],
            rotation[rows, candidate],
            size,
            params.resampled,
        )
        found = noise.gt_(params.threshold)
        if "foreground" in draws:
            found.mul_(draws["foreground"][rows])
        if selects:
            mask[rows] = found
        else:
            mask += found.mul_(missing[:, None, None])
    return mask[:, None]


def selects_samples(device: torch.device) -> bool:
    """Whether to compute only the samples that need it.

    Only the accelerator knows which these are, and reading it would make the host wait.
    """
    return device.type == "cpu"
