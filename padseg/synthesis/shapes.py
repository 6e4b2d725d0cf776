"""Shapes of defects beside Perlin masks: lines, spots, blobs, bands and zones.

A Perlin mask is a group of ragged patches all over the image. Real defects are also scratches, specks,
holes, stains, strips and whole regions. TEDSeg does not need to be trained on these: it finds more single
defects with Perlin masks alone (`configs/tedseg/NOTES.md`).

Each function draws one mask, (H, W) uint8, 1 on the defect. Positions are anywhere in the image; widths
and radii are given for a shorter side of 256 pixels and grow with it.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from padseg.synthesis.kinds import Size

Mask = NDArray[np.uint8]


def draw_line(rng: np.random.Generator, size: Size) -> Mask:
    """One or two polylines of 2 to 6 segments, 1 to 5 pixels wide: scratches, cracks, threads."""
    mask, side = np.zeros(size, np.uint8), min(size)
    for _ in range(rng.integers(1, 3)):
        segments = int(rng.integers(2, 7))
        length, bend = rng.uniform(0.04, 0.16) * side, rng.uniform(0, 0.5)
        turns = bend * rng.normal(size=segments)
        angles = rng.uniform(0, 2 * math.pi) + np.cumsum(turns)
        steps = length * np.stack([np.cos(angles), np.sin(angles)], 1)
        points = _centre(rng, size) + np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])
        width = max(1, round(rng.uniform(1, 5) * side / 256))
        cv2.polylines(mask, [_whole(points)], isClosed=False, color=1, thickness=width)
    return mask


def draw_spot(rng: np.random.Generator, size: Size) -> Mask:
    """One to four ellipses with a minor radius of 1.5 to 14 pixels: specks, dents, pores."""
    mask, side = np.zeros(size, np.uint8), min(size)
    for _ in range(rng.integers(1, 5)):
        x, y = _centre(rng, size)
        # As many between 1.5 and 3 as between 7 and 14.
        radius = math.exp(rng.uniform(math.log(1.5), math.log(14))) * side / 256
        axes = (max(1, round(radius * rng.uniform(1, 3))), max(1, round(radius)))
        angle = rng.uniform(0, 180)
        cv2.ellipse(mask, (int(x), int(y)), axes, angle, 0, 360, color=1, thickness=-1)
    return mask


def draw_blob(rng: np.random.Generator, size: Size) -> Mask:
    """A squeezed polygon of 5 to 11 corners, up to two thirds of the image across: stains, chips, holes."""
    mask = np.zeros(size, np.uint8)
    corners = int(rng.integers(5, 12))
    radius = rng.uniform(0.06, 0.3) * min(size) * rng.uniform(0.5, 1.2, corners)
    angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
    squeeze, turn = rng.uniform(0.35, 1), rng.uniform(0, math.pi)
    x, y = radius * np.cos(angles), squeeze * radius * np.sin(angles)
    cos, sin = math.cos(turn), math.sin(turn)
    points = np.stack([cos * x - sin * y, sin * x + cos * y], 1) + _centre(rng, size)
    cv2.fillPoly(mask, [_whole(points)], color=1)
    return mask


def draw_band(rng: np.random.Generator, size: Size) -> Mask:
    """A rectangle, nearly upright or lying: tape, missing rows, misprints."""
    mask, side = np.zeros(size, np.uint8), min(size)
    sides = rng.uniform(0.1, 1.0) * side, rng.uniform(0.06, 0.35) * side
    if rng.random() < 0.5:
        sides = sides[::-1]
    x, y = _centre(rng, size)
    corners = np.asarray(cv2.boxPoints(((x, y), sides, 8 * rng.normal())), np.float64)
    cv2.fillPoly(mask, [_whole(corners)], color=1)
    return mask


def draw_zone(rng: np.random.Generator, size: Size) -> Mask:
    """A side or a corner of the image behind a wavy edge: uneven light, missing parts.

    The edge is parallel to a side of the image in most cases, up to about 12 degrees.
    """
    mask = np.ones(size, np.uint8)
    y = (np.arange(size[0], dtype=np.float32) / size[0] - 0.5)[:, None]
    x = (np.arange(size[1], dtype=np.float32) / size[1] - 0.5)[None, :]
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.7:
            angle = math.radians(90 * int(rng.integers(4)) + 12 * rng.normal())
        else:
            angle = rng.uniform(0, 2 * math.pi)
        cos, sin = math.cos(angle), math.sin(angle)
        amplitude, frequency = rng.uniform(0, 0.03), rng.uniform(3, 20)
        phase = rng.uniform(0, 2 * math.pi)
        # Relative to the half width of the image in this direction, so that something is left of it.
        begin = rng.uniform(0.1, 0.42) * (abs(cos) + abs(sin))
        wave = amplitude * np.sin((y * cos - x * sin) * frequency + phase)
        mask &= x * cos + y * sin + wave > begin
    return mask


SHAPES: dict[str, Callable[[np.random.Generator, Size], Mask]] = {
    "line": draw_line,
    "spot": draw_spot,
    "blob": draw_blob,
    "band": draw_band,
    "zone": draw_zone,
}


def _centre(rng: np.random.Generator, size: Size) -> NDArray[np.float64]:
    """(x, y) anywhere in the image."""
    return rng.uniform(0, 1, 2) * (size[1], size[0])


def _whole(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(points).astype(np.int32)
