"""What the pictures of the demo set are painted with: shapes, strokes, noise, and the camera.

Every painter gets a NumPy generator and draws all its choices from it, so that one seed gives one
picture. Colours are float32 RGB in [0, 1], arrays of shape (SIZE, SIZE, 3); coverages are float32
(SIZE, SIZE) in [0, 1], with smooth edges.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

SIZE = 128
_FINE = 4  # PIL draws without anti-aliasing: shapes are drawn this much larger, then averaged

Array = NDArray[Any]
Points = list[tuple[float, float]]
# Middles of the pixels.
Y, X = (np.mgrid[0:SIZE, 0:SIZE] + 0.5).astype(np.float32)


def rgb(red: float, green: float, blue: float) -> Array:
    """A colour from three numbers in 0..255."""
    return np.asarray((red, green, blue), np.float32) / 255


def over(image: Array, colour: Array, cover: Array) -> Array:
    """`colour` laid over `image` with the opacity `cover`."""
    return image + (colour - image) * cover[..., None]


def halve(fine: Array) -> Array:
    """Average 2x2 blocks of a (2 SIZE, 2 SIZE) array."""
    blocks: Array = fine.reshape(SIZE, 2, SIZE, 2).mean((1, 3), dtype=np.float32)
    return blocks


def _coverage(fine: Image.Image) -> Array:
    """Coverage of what is 255 in a picture `_FINE` times as large."""
    return np.asarray(fine.reduce(_FINE), np.float32) / 255


def stroke(points: Points, widths: Sequence[float]) -> Array:
    """Coverage of a line through `points` whose width in pixels changes along it."""
    canvas = Image.new("L", (SIZE * _FINE, SIZE * _FINE))
    pen = ImageDraw.Draw(canvas)
    scaled = [(x * _FINE, y * _FINE) for x, y in points]
    for start, end, width in zip(scaled, scaled[1:], widths, strict=False):
        pen.line([start, end], fill=255, width=max(1, round(width * _FINE)))
        r = width * _FINE / 2
        pen.ellipse([end[0] - r, end[1] - r, end[0] + r, end[1] + r], fill=255)
    return _coverage(canvas)


def polygon(points: Points) -> Array:
    """Coverage of a filled polygon."""
    canvas = Image.new("L", (SIZE * _FINE, SIZE * _FINE))
    ImageDraw.Draw(canvas).polygon([(x * _FINE, y * _FINE) for x, y in points], fill=255)
    return _coverage(canvas)


def blob(rng: np.random.Generator, x: float, y: float, radius: float, rough: float) -> Points:
    """A closed outline around (x, y); `rough` is the relative deviation from an ellipse."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    reach = np.ones_like(angle)
    for wave in range(2, 9):
        reach += rough / wave * rng.standard_normal() * np.cos(wave * angle + rng.uniform(0, 6.3))
    stretch, turn = rng.uniform(0.75, 1.0), rng.uniform(0, np.pi)
    a, b = radius * reach * np.cos(angle), radius * reach * stretch * np.sin(angle)
    c, s = math.cos(turn), math.sin(turn)
    return [(x + c * p - s * q, y + s * p + c * q) for p, q in zip(a, b, strict=True)]


def wander(
    rng: np.random.Generator, x: float, y: float, heading: float, length: float, bend: float
) -> Points:
    """Points of a curve centred near (x, y) whose heading drifts by `bend` radians in total."""
    steps = 24
    turns = heading + np.linspace(-0.5, 0.5, steps) * bend * rng.choice((-1, 1))
    turns = turns + bend * 0.4 * np.sin(np.linspace(0, rng.uniform(2, 6), steps))
    xs, ys = np.cumsum(np.cos(turns)), np.cumsum(np.sin(turns))
    step = length / steps
    return [
        (x + step * (p - xs.mean()), y + step * (q - ys.mean()))
        for p, q in zip(xs, ys, strict=True)
    ]


def spread(cover: Array, radius: float) -> Array:
    """Gaussian blur of a coverage."""
    blurred: Array = ndimage.gaussian_filter(cover, radius)
    return blurred


def camera(image: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture that a camera takes: exposure, uneven light, sensor noise, 8 bits."""
    turn, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.1)
    slope = (math.cos(turn) * (X / SIZE - 0.5) + math.sin(turn) * (Y / SIZE - 0.5)) * 2
    light = rng.uniform(0.93, 1.05) * (1 + fall * slope)
    noise = rng.standard_normal(image.shape).astype(np.float32) * rng.uniform(0.006, 0.012)
    return np.rint(np.clip(image * light[..., None] + noise, 0, 1) * 255).astype(np.uint8)
