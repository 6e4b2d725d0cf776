"""Painters of the demo set: defects on the parts.

A defect takes a scene and a generator and returns the damaged picture and the coverage of the damage,
float32 (SIZE, SIZE, 3) and (SIZE, SIZE).
"""

import math
from collections.abc import Callable

import numpy as np

from padseg.demo.paint import (
    Array,
    blob,
    over,
    polygon,
    rgb,
    spread,
    stroke,
    wander,
)
from padseg.demo.parts import Part, PartScene, cap, place, weave, wood
from padseg.synthesis.textures import clouds, smooth

Defect = Callable[[PartScene, np.random.Generator], tuple[Array, Array]]


def _scratch(colour: Array, lip: float) -> Defect:
    def paint(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
        x, y = place(scene, rng)
        heading = scene.along + rng.uniform(0.5, 2.6)
        points = wander(rng, x, y, heading, rng.uniform(34, 60), rng.uniform(0.1, 0.7))
        width = rng.uniform(2.4, 3.6) * np.sin(np.linspace(0.35, 2.8, len(points)))
        groove = stroke(points, width.tolist())
        ridge = np.roll(groove, (1, 1), (0, 1))
        image = over(scene.image * (1 + lip * ridge)[..., None], colour, 0.85 * groove)
        return image, np.maximum(groove, ridge)

    return paint


def _stain(colour: Array, strength: float, size: tuple[float, float]) -> Defect:
    def paint(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
        x, y = place(scene, rng)
        cover = polygon(blob(rng, x, y, rng.uniform(*size), 0.25))
        soaked = spread(cover, 1.2)
        # A dried stain is darkest where the liquid stopped.
        tide = np.clip(soaked * (1 - spread(cover, 3.5)) * 2.2, 0, 1)
        mottle = 0.82 + 0.18 * np.clip(clouds(rng, 24, 24), -1, 1)
        depth = np.clip(soaked * strength * mottle + 0.3 * tide, 0, 1)
        return scene.image * (1 - depth[..., None] * (1 - colour)), soaked

    return paint


def _hole(lip: Array, size: tuple[float, float], rough: float, fray: int) -> Defect:
    def paint(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
        x, y = place(scene, rng)
        outline = blob(rng, x, y, rng.uniform(*size), rough)
        gap = polygon(outline)
        border = np.clip(spread(gap, 1.3) * 1.8, 0, 1)
        image = over(scene.image, lip, 0.75 * border)
        shade = 0.55 + 0.45 * smooth(0.2, 0.9, np.roll(gap, (3, 3), (0, 1)))
        image = over(image, scene.behind * shade[..., None], gap)
        mask = np.maximum(gap, border)
        for _ in range(fray):
            px, py = outline[rng.integers(len(outline))]
            inward = math.atan2(y - py, x - px) + rng.uniform(-0.7, 0.7)
            points = wander(rng, px, py, inward, rng.uniform(6, 11), 1.0)
            hair = stroke(points, [1.1] * len(points))
            image, mask = over(image, lip * 1.05, 0.9 * hair), np.maximum(mask, hair)
        return image, mask

    return paint


def _thread(colour: Array) -> Defect:
    def paint(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
        x, y = place(scene, rng)
        points = wander(
            rng, x, y, rng.uniform(0, math.pi), rng.uniform(60, 95), rng.uniform(2.5, 4.5)
        )
        line = stroke(points, [rng.uniform(2.4, 3.4)] * len(points))
        shadow = 0.5 * spread(np.roll(line, (2, 1), (0, 1)), 1.0)
        core = 0.85 + 0.3 * spread(line, 0.8)
        image = scene.image * (1 - shadow[..., None])
        return over(image, colour * core[..., None], line), np.maximum(line, shadow * 1.2)

    return paint


def _dent(depth: float, size: tuple[float, float]) -> Defect:
    def paint(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
        x, y = place(scene, rng)
        radius = rng.uniform(*size)
        bowl = spread(polygon(blob(rng, x, y, radius, 0.2)), radius * 0.22)
        # Light comes from the upper left, as on the parts: the far wall of the bowl is lit.
        slope = (np.roll(bowl, (-2, -2), (0, 1)) - np.roll(bowl, (2, 2), (0, 1))) * depth
        image = scene.image * (1 - 0.35 * bowl * depth)[..., None] - 0.75 * slope[..., None]
        return image + 0.15 * np.maximum(-slope, 0)[..., None], np.clip(bowl * 1.5, 0, 1)

    return paint


def _crack(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
    """A forked split along the grain."""
    x, y = place(scene, rng)
    heading = scene.along + rng.uniform(-0.15, 0.15)
    points = wander(rng, x, y, heading, rng.uniform(44, 70), 0.3)
    jagged = [(px + rng.uniform(-0.9, 0.9), py) for px, py in points]
    width = rng.uniform(3.4, 5.0) * np.sin(np.linspace(0.25, 2.9, len(points)))
    split = stroke(jagged, width.tolist())
    fork = jagged[rng.integers(8, 16)]
    side = wander(rng, *fork, heading + rng.choice((-0.5, 0.5)), rng.uniform(16, 26), 0.3)
    split = np.maximum(split, stroke(side, np.linspace(2.6, 1.4, len(side)).tolist()))
    lit = np.roll(split, 1, 1)
    image = over(scene.image * (1 + 0.3 * lit)[..., None], scene.behind, 0.95 * split)
    return image, np.maximum(split, lit)


def _chip(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
    """A piece broken out of the rim of the cap, with the belt showing."""
    angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(41, 46)
    ys, xs = np.nonzero(scene.area)
    x, y = xs.mean() + reach * math.cos(angle), ys.mean() + reach * math.sin(angle)
    bite = polygon(blob(rng, float(x), float(y), rng.uniform(9, 13), 0.25))
    metal = np.clip(spread(bite, 1.0) * 1.7, 0, 1) * scene.solid
    image = over(scene.image, rgb(186, 188, 190), 0.8 * metal)
    image = over(image, scene.behind * 0.72, np.minimum(bite, scene.solid))
    return image, np.maximum(metal, bite * scene.solid)


def _repainted(scene: PartScene, rng: np.random.Generator) -> tuple[Array, Array]:
    """A manufacturing fault: the part is painted again with it."""
    assert scene.with_fault is not None
    return scene.with_fault(rng.uniform())


CATEGORIES: dict[str, tuple[Part, dict[str, Defect]]] = {
    "cap": (
        cap,
        {
            "scratch": _scratch(rgb(226, 228, 232), -0.5),
            "rust": _stain(rgb(66, 40, 22), 0.95, (8, 12)),
            "dent": _dent(0.9, (9, 13)),
            "chip": _chip,
        },
    ),
    "fabric": (
        weave,
        {
            "hole": _hole(rgb(172, 186, 202), (8, 12), 0.25, 5),
            "stain": _stain(rgb(120, 74, 34), 0.85, (9, 16)),
            "thread": _thread(rgb(226, 216, 190)),
            "missing_thread": _repainted,
        },
    ),
    "wood": (
        wood,
        {
            "scratch": _scratch(rgb(232, 204, 160), -0.35),
            "stain": _stain(rgb(58, 60, 74), 0.7, (9, 16)),
            "dent": _dent(0.8, (9, 14)),
            "hole": _hole(rgb(112, 74, 42), (4.5, 7.5), 0.1, 0),
            "crack": _crack,
        },
    ),
}
