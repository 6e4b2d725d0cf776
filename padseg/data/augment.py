"""Augmentation of normal images and textures with albumentations."""

import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it queries PyPI on import
import albumentations as A

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
        pipeline: The pipeline of albumentations.
    """

    def __init__(self, pipeline: A.Compose) -> None:
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
    part.set_random_seed(int(seeds.integers(2**32)))
    for inner in getattr(part, "transforms", ()):
        _seed(inner, seeds)


def normal_augmentation(group: AugmentationGroup, size: tuple[int, int]) -> Augmentation | None:
    """Rotation of normal images as in DeSTSeg (Zhang et al., CVPR 2023, official code).

    Args:
        group: `none`; `slight`, rotation by up to 5 degrees; or `full`, with a quarter turn before that.
            If the image is not square, half turns replace quarter turns, which would cut the object.
        size: (H, W) in pixels.
    """
    if group == "none":
        return None
    steps = [_rotate(5, fill=114)]
    if group == "full":
        square = size[0] == size[1]
        steps.insert(0, _quarter_turns(square))
    return Augmentation(A.Compose(steps))


def _quarter_turns(square: bool) -> Any:
    if square:
        return A.RandomRotate90(p=1)
    # Both flips together are a half turn.
    return A.Compose([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)], p=0.5)


def texture_jitter() -> Augmentation:
    """Three of ten colour and geometry operators in random order, as DRAEM applies to its textures.

    Zavrtanik et al., ICCV 2021, official code, except that the gamma is the same for all channels here and
    that their sharpening blurs in half of the cases. DeSTSeg does not augment textures.
    """
    operators = [
        A.RandomGamma((50, 200), p=1),
        A.RandomBrightnessContrast((-0.12, 0.12), (-0.2, 0.2), p=1),
        A.Sharpen((0, 1), method="gaussian", p=1),
        A.HueSaturationValue(35, 50, 0, p=1),  # hue: 50 of 255 there equals 35 of 180
        A.Solarize((32 / 255, 128 / 255), p=0.5),
        A.Posterize((1, 7), p=1),
        A.InvertImg(p=1),
        A.AutoContrast(
            method="pil", p=1
        ),  # stretch the contrast; by default it equalises, like the next one
        A.Equalize(p=1),
        _rotate(45, fill=0),
    ]
    return Augmentation(A.Compose([A.RandomOrder(operators, n=3, replace=False, p=1)]))


def _rotate(limit: float, fill: int) -> Any:
    return A.Rotate(
        limit,
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_CONSTANT,
        fill=fill,
        fill_mask=0,
        p=1,
    )
