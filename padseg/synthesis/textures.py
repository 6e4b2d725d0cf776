"""Procedural textures for synthetic defects: surfaces without strokes, blots or holes.

Every texture is drawn from a NumPy generator, so that one seed gives one texture. `grid` is the side of
the picture in pixels; the pattern itself does not depend on it, only its resolution does.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

Array = NDArray[Any]
SIDE = 128
"""The side of a texture in its own units, and in pixels unless another resolution is asked for."""
Texture = Callable[[np.random.Generator, int], Array]


def clouds(rng: np.random.Generator, rows: int, cols: int, size: int = SIDE) -> Array:
    """Smooth noise with a deviation of about one and the given number of cells, (size, size)."""
    coarse = rng.standard_normal((rows + 1, cols + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def smooth(low: float, high: float, value: Array) -> Array:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _coordinates(grid: int) -> tuple[Array, Array]:
    """The x and y of the pixels' centres, from 0 to SIDE, each float32 (grid, grid)."""
    y, x = (np.mgrid[0:grid, 0:grid] + 0.5).astype(np.float32) * np.float32(SIDE / grid)
    return x, y


def _palette(rng: np.random.Generator, count: int) -> Array:
    """Random colours that differ in lightness, (count, 3)."""
    light = np.linspace(0.08, 0.95, count) + rng.uniform(-0.08, 0.08, count)
    tint = rng.uniform(-0.35, 0.35, (count, 3))
    return np.clip(rng.permutation(light)[:, None] + tint, 0, 1).astype(np.float32)


def _blend(rng: np.random.Generator, value: Array) -> Array:
    """Colours for values in [0, 1], from a random ramp of four."""
    ramp = _palette(rng, 4)
    spot = np.clip(value, 0, 1) * 3
    low = np.minimum(spot.astype(np.int32), 2)
    part = (spot - low)[..., None]
    return ramp[low] * (1 - part) + ramp[low + 1] * part


def _turned(rng: np.random.Generator, grid: int) -> tuple[Array, Array]:
    angle = rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    x, y = _coordinates(grid)
    return c * x + s * y, c * y - s * x


def cells(rng: np.random.Generator, grid: int) -> Array:
    """Pebbles: Voronoi cells with dark joints."""
    count = int(rng.integers(30, 250))
    seeds = rng.uniform(-10, SIDE + 10, (count, 2))
    found = cKDTree(seeds).query(np.stack(_coordinates(grid), -1), k=2)
    distance, nearest = np.asarray(found[0]), np.asarray(found[1])
    joint = smooth(0.3, 2.5, (distance[..., 1] - distance[..., 0]).astype(np.float32))
    colours = _palette(rng, 5)[rng.integers(0, 5, count)]
    pebbles: Array = colours[nearest[..., 0]] * (0.25 + 0.75 * joint)[..., None]
    return pebbles


def marble(rng: np.random.Generator, grid: int) -> Array:
    """Veins: a sine bent by clouds."""
    u, _ = _turned(rng, grid)
    bend = clouds(rng, 4, 4, grid) * 2 + clouds(rng, 10, 10, grid)
    return _blend(
        rng, 0.5 + 0.5 * np.sin(u * rng.uniform(0.05, 0.3) + bend * rng.uniform(0.6, 1.6))
    )


def stripes(rng: np.random.Generator, grid: int) -> Array:
    """Stripes of two or three colours."""
    u, _ = _turned(rng, grid)
    width = rng.uniform(4, 14)
    wave = np.floor((u + clouds(rng, 4, 4, grid) * rng.uniform(0, 3)) / width + 60).astype(np.int32)
    colours = _palette(rng, int(rng.integers(2, 4)))
    return colours[wave % len(colours)]


def checks(rng: np.random.Generator, grid: int) -> Array:
    """A tiled floor."""
    u, v = _turned(rng, grid)
    width = rng.uniform(6, 20)
    i, j = np.floor(u / width + 60).astype(np.int32), np.floor(v / width + 60).astype(np.int32)
    colours = _palette(rng, 3)
    kind = (i + j) % 2 + ((i * 7 + j * 3) % 5 == 0)
    return colours[np.minimum(kind, 2)]


def dots(rng: np.random.Generator, grid: int) -> Array:
    """Polka dots."""
    u, v = _turned(rng, grid)
    pitch = rng.uniform(7, 20)
    distance = np.hypot(u % pitch - pitch / 2, v % pitch - pitch / 2)
    ground, dot = _palette(rng, 2)
    cover = smooth(0.6, -0.6, (distance - pitch * rng.uniform(0.2, 0.4)).astype(np.float32))
    return ground + (dot - ground) * cover[..., None]


def camouflage(rng: np.random.Generator, grid: int) -> Array:
    """Patches of flat colour."""
    level = (
        clouds(rng, 5, 5, grid) + 0.6 * clouds(rng, 12, 12, grid) + 0.3 * clouds(rng, 30, 30, grid)
    )
    colours = _palette(rng, 5)
    return colours[np.clip(np.floor(level * 1.4 + 2.5), 0, 4).astype(np.int32)]


def plaid(rng: np.random.Generator, grid: int) -> Array:
    """Bands crossing bands."""
    u, v = _turned(rng, grid)
    bands = [_palette(rng, 6)[rng.integers(0, 6, 400)] for _ in range(2)]
    width = rng.uniform(2, 9)
    i, j = (np.floor(w / width + 150).astype(np.int32) for w in (u, v))
    return (bands[0][i] + bands[1][j]) / 2


def grain(rng: np.random.Generator, grid: int) -> Array:
    """Sand and gravel: noise of several grain sizes."""
    fine = int(rng.integers(20, 128))
    level = 0.6 * clouds(rng, fine, fine, grid) + 0.4 * clouds(rng, 9, 9, grid)
    return _blend(rng, 0.5 + 0.3 * level)


TEXTURES: dict[str, Texture] = {
    "camouflage": camouflage,
    "cells": cells,
    "checks": checks,
    "dots": dots,
    "grain": grain,
    "marble": marble,
    "plaid": plaid,
    "stripes": stripes,
}


def texture(kind: str, rng: np.random.Generator, grid: int = SIDE) -> NDArray[np.uint8]:
    """A texture of one kind, uint8 (grid, grid, 3)."""
    colour = TEXTURES[kind](rng, grid)
    colour = colour + 0.02 * rng.standard_normal((grid, grid, 1)).astype(np.float32)
    return np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)
