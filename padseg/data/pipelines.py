"""The pipelines of albumentations, whose import takes half a second: only trainings that augment need it."""

import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it queries PyPI on import
import albumentations as A

# By the number of quarter turns, counterclockwise.
_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def rotations(quarter_turns: bool, square: bool) -> A.Compose:
    """Rotation of normal images as in DeSTSeg (Zhang et al., CVPR 2023, official code)."""
    steps = [_rotate(5, fill=114)]
    if quarter_turns:
        steps.insert(0, _quarter_turns(square))
    return A.Compose(steps)


class _QuarterTurns(A.RandomRotate90):  # type: ignore[misc]
    """Quarter turns by OpenCV, which moves the pixels ten times as fast as NumPy's strided copy."""

    def apply(self, img: NDArray[np.uint8], factor: int, **params: Any) -> NDArray[np.uint8]:
        """Turn (H, W) or (H, W, 3) by `factor` quarter turns, counterclockwise."""
        return img if factor == 0 else np.asarray(cv2.rotate(img, _TURNS[factor]), np.uint8)


def _quarter_turns(square: bool) -> Any:
    if square:
        return _QuarterTurns(p=1)
    # Both flips together are a half turn.
    return A.Compose([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)], p=0.5)


def jitter() -> A.Compose:
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
        # Stretch the contrast; by default it equalises, like the next one.
        A.AutoContrast(method="pil", p=1),
        A.Equalize(p=1),
        _rotate(45, fill=0),
    ]
    return A.Compose([A.RandomOrder(operators, n=3, replace=False, p=1)])


def _rotate(limit: float, fill: int) -> Any:
    return A.Rotate(
        limit,
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_CONSTANT,
        fill=fill,
        fill_mask=0,
        p=1,
    )
