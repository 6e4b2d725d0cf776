"""Augmentation of normal images and textures, with pipelines of albumentations."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from padseg.names import AugmentationGroup, AugmentationName

# DeSTSeg's official lists; objects in a fixed pose are not rotated.
CATEGORY_GROUPS: dict[str, AugmentationGroup] = {
    **dict.fromkeys(("capsule", "metal_nut", "pill", "toothbrush", "transistor"), "none"),
    **dict.fromkeys(("cable", "wood", "zipper"), "slight"),
    **dict.fromkeys(("bottle", "carpet", "grid", "hazelnut", "leather", "screw", "tile"), "full"),
}


def chosen_group(name: AugmentationName, category: str, layout: str) -> AugmentationGroup:
    """The group that an option means: `auto` is the category's own in MVTec AD, and `none` elsewhere."""
    if name != "auto":
        return name
    # The layout matters too: in another data set, the position of a `screw` may show what is wrong.
    return CATEGORY_GROUPS.get(category, "none") if layout == "mvtec" else "none"


class Augmentation:
    """A pipeline whose result depends only on the image and a seed.

    Args:
        pipeline: A `Compose` of albumentations.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __call__(self, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """Augment one image, (H, W, 3) uint8 in and out."""
        _seed(self._pipeline, np.random.default_rng(seed))
        augmented: NDArray[np.uint8] = self._pipeline(image=image)["image"]
        return augmented

    def with_mask(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment one image as `__call__` does, and its mask, (H, W) uint8, likewise, padding with 0."""
        _seed(self._pipeline, np.random.default_rng(seed))
        augmented = self._pipeline(image=image, mask=mask)
        return augmented["image"], augmented["mask"]


def _seed(part: Any, seeds: np.random.Generator) -> None:
    """Give every transform independent draws: albumentations gives all of them the same."""
    seed = int(seeds.integers(2**32))
    # Unlike `set_random_seed`, it makes no generators for the inner transforms, which get their own here.
    part.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
    for inner in getattr(part, "transforms", ()):
        _seed(inner, seeds)


def normal_augmentation(group: AugmentationGroup, size: tuple[int, int]) -> Augmentation | None:
    """Rotation of normal images.

    Args:
        group: `none`; `slight`, rotation by up to 5 degrees; or `full`, with a quarter turn before that.
            If the image is not square, half turns replace quarter turns, which would cut the object.
        size: (H, W) in pixels.
    """
    if group == "none":
        return None
    from padseg.data import pipelines

    return Augmentation(pipelines.rotations(group == "full", size[0] == size[1]))


def texture_jitter() -> Augmentation:
    """Random colours and geometry of textures, as in DRAEM; DeSTSeg does not augment textures."""
    from padseg.data import pipelines

    return Augmentation(pipelines.jitter())
