"""Painters of the demo set: parts without a defect."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from padseg.demo.paint import SIZE, Array, X, Y, halve, over, rgb, spread
from padseg.synthesis.textures import clouds, smooth

_SOLID = np.ones((SIZE, SIZE), np.float32)


@dataclass(frozen=True)
class PartScene:
    """A part without defects, and what a defect needs to know about it.

    Attributes:
        image: the scene in front of the camera, (SIZE, SIZE, 3).
        behind: what shows where material is missing, (SIZE, SIZE, 3).
        area: where the centre of a defect may lie, bool (SIZE, SIZE).
        solid: coverage of the part itself, (SIZE, SIZE).
        along: direction of grain or threads, radians.
        with_fault: takes a position in [0, 1] and returns the same part with a manufacturing fault there,
            and the coverage of the fault.
    """

    image: Array
    behind: Array
    area: NDArray[np.bool_]
    solid: Array
    along: float
    with_fault: Callable[[float], tuple[Array, Array]] | None = None


Part = Callable[[np.random.Generator], PartScene]


def place(scene: PartScene, rng: np.random.Generator) -> tuple[float, float]:
    """A random (x, y) inside the scene's area."""
    spots = np.flatnonzero(scene.area)
    row, col = divmod(int(spots[rng.integers(len(spots))]), SIZE)
    return col + 0.5, row + 0.5


def weave(rng: np.random.Generator) -> PartScene:
    """Blue twill cloth; its manufacturing fault is missing warp threads."""
    n = 2 * SIZE
    tilt, pitch = rng.uniform(-0.05, 0.05), rng.uniform(7.0, 7.5)
    c, s = math.cos(tilt), math.sin(tilt)
    y, x = np.mgrid[0:n, 0:n].astype(np.float32) / 2 - SIZE / 2
    sway = 0.35 * clouds(rng, 3, 3, n)
    a = (c * x + s * y + sway) / pitch + 20 + rng.uniform()
    b = (c * y - s * x + sway) / pitch + 20 + rng.uniform()
    i, j = a.astype(np.int32), b.astype(np.int32)
    across, down = a - i - 0.5, b - j - 0.5
    warp = np.cos(np.pi * 0.92 * across) * (0.82 + 0.18 * np.cos(np.pi * down))
    weft = np.cos(np.pi * 0.92 * down) * (0.82 + 0.18 * np.cos(np.pi * across))
    tone = 1 + 0.05 * rng.standard_normal((2, 40)).astype(np.float32)
    fibre = 0.05 * clouds(rng, 100, 100, n)
    warp = (0.38 + 0.62 * warp) * tone[0][i] + fibre
    weft = (0.34 + 0.58 * weft) * tone[1][j] + fibre
    raised = (i + j) % 4 < 2

    def cloth(raised: NDArray[np.bool_]) -> Array:
        blue, grey = halve(np.where(raised, warp, 0)), halve(np.where(raised, 0, weft))
        return blue[..., None] * rgb(92, 132, 176) + grey[..., None] * rgb(196, 206, 214)

    def slack(where: float) -> tuple[Array, Array]:
        first = 16 + round(where * 7)
        gone = (i == first) | (i == first + 1)
        return cloth(raised & ~gone), halve(gone.astype(np.float32))

    table = (1 + 0.15 * clouds(rng, 30, 30))[..., None] * rgb(30, 26, 28)
    return PartScene(cloth(raised), table, _inside(18), _SOLID, math.pi / 2 + tilt, slack)


def wood(rng: np.random.Generator) -> PartScene:
    """A planed oak board with vertical grain."""
    tilt = rng.uniform(-0.06, 0.06)
    drift = 0.9 * clouds(rng, 2, 3) + 0.25 * clouds(rng, 3, 8)
    across = (X + tilt * (Y - SIZE / 2)) / SIZE
    rings = across * rng.uniform(7.5, 9.5) + drift * 0.8 + rng.uniform(0, 9)
    phase = rings - np.floor(rings)
    late = smooth(0.3, 0.88, phase) * (1 - smooth(0.86, 1.0, phase))
    fibre = clouds(rng, 7, 90) * 0.5 + clouds(rng, 14, 128) * 0.5
    pores = smooth(0.7, 1.5, clouds(rng, 16, 110)) * (0.35 + 0.65 * (1 - late))
    tint = rng.uniform(-0.03, 0.03)
    image = over(
        np.broadcast_to(rgb(203, 158, 106), (SIZE, SIZE, 3)), rgb(150, 101, 58), 0.8 * late
    )
    image = image * (1 + tint + 0.045 * fibre)[..., None]
    image = over(image, rgb(104, 66, 36), 0.5 * pores)
    behind = np.broadcast_to(rgb(38, 24, 15), image.shape).astype(np.float32)
    return PartScene(image.astype(np.float32), behind, _inside(16), _SOLID, math.pi / 2 + tilt)


def cap(rng: np.random.Generator) -> PartScene:
    """A plain red cap on a conveyor belt."""
    belt = 0.23 + 0.012 * clouds(rng, 60, 60) + 0.012 * np.sin(X * 1.2 + rng.uniform(0, 6.3))
    belt = belt[..., None] * np.asarray((0.92, 1.0, 1.08), np.float32)
    cx, cy = SIZE / 2 + rng.uniform(-1.5, 1.5), SIZE / 2 + rng.uniform(-1.5, 1.5)
    turn, radius = rng.uniform(-0.06, 0.06), rng.uniform(47.5, 48.5)
    dx, dy = X - cx, Y - cy
    distance, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    body = np.clip(radius - distance + 0.5, 0, 1)
    shadow = 0.55 * spread(np.roll(body, (4, 3), (0, 1)), 3)
    light = rng.uniform(3.6, 4.2)
    facing = np.cos(angle - light)
    steep = smooth(35, 46, distance)
    paint = (
        rgb(186, 34, 40)
        * (1 + 0.06 * (dx * math.cos(light) + dy * math.sin(light)) / 40)[..., None]
    )
    paint = paint * (1 + steep * 0.24 * facing - 0.25 * smooth(44, 50, distance))[..., None]
    edge = np.exp(-(((distance - 37) / 1.8) ** 2)) * (0.12 + 0.22 * np.maximum(facing, 0))
    paint = paint + edge[..., None]
    gleam = 0.16 * np.exp(-(((dx + 17) / 15) ** 2) - ((dy + 19) / 10) ** 2)
    below = belt * (1 - shadow[..., None])

    image = over(below, paint + gleam[..., None], body).astype(np.float32)
    return PartScene(image, belt.astype(np.float32), distance < 36, body, turn)


def _inside(margin: int) -> NDArray[np.bool_]:
    """The picture without a margin."""
    area = np.zeros((SIZE, SIZE), np.bool_)
    area[margin:-margin, margin:-margin] = True
    return area
