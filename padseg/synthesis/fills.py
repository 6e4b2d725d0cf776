"""Fills of defects: textures, the normal images' own parts, changes of tone, and flat colours.

A fill is a picture and a change of its tone: `gain * picture + share * mean + shift`, where `mean` is the
mean colour of the clean image under the mask. The picture and the numbers are made in a data worker; the
rest is computed in one batch on the device, where the masks are.

Foreign textures are after DRAEM (Zavrtanik et al., ICCV 2021), the image's own parts after CutPaste (Li et
al., CVPR 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = NDArray[np.float64]  # (3,)


class ImageList(Protocol):
    """A list of pictures, perhaps in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Picture: ...


@dataclass(frozen=True)
class Scene:
    """What the fill of one sample can be made of.

    Attributes:
        image: The normal image, (H, W, 3) uint8.
        texture: A texture, alike.
        others: All normal images, from which one can be drawn.
    """

    image: Picture
    texture: Picture
    others: ImageList

    @cached_property
    def grey(self) -> bool:
        """Whether the image has no colour; then its defects get none either."""
        red, green, blue = cv2.split(self.image)
        return np.array_equal(red, green) and np.array_equal(green, blue)


@dataclass(frozen=True)
class Fill:
    """What a defect is filled with.

    Attributes:
        picture: (H, W, 3) uint8.
        opacity: Within 0 to 1; 1 hides what is below.
        gain: Factor of the picture.
        share: Factor of the mean colour of the clean image under the mask.
        shift: Added, one number or one a channel, in units of the full range.
    """

    picture: Picture
    opacity: float
    gain: float = 1.0
    share: float = 0.0
    shift: Colour | float = 0.0


def fill_texture(rng: np.random.Generator, scene: Scene, opacity: tuple[float, float]) -> Fill:
    """A texture, or a part of it enlarged; some in the colour of their place."""
    texture = _enlarged(rng, scene.texture, 1 / 3, 1) if rng.random() < 0.5 else scene.texture
    recoloured = scene.grey or rng.random() < 0.1
    if recoloured:
        texture = _without_colour(texture)
    drawn = rng.uniform(*opacity)
    if rng.random() < 0.15:
        shift = 0.12 * rng.normal() - _mean(texture)
        return Fill(texture, drawn, share=1.0, shift=shift)
    if recoloured and not scene.grey:
        return Fill(texture, drawn, share=1.0, shift=-_mean(texture))
    return Fill(texture, drawn)


def fill_self(rng: np.random.Generator, scene: Scene, opacity: tuple[float, float]) -> Fill:
    """This or another normal image, shifted and perhaps turned, enlarged or of another contrast."""
    other = (
        scene.others[int(rng.integers(len(scene.others)))] if rng.random() < 0.5 else scene.image
    )
    height, width = other.shape[:2]
    offset = [int(rng.integers(side // 8, side - side // 8)) for side in (height, width)]
    part = np.roll(other, offset, (0, 1))
    if rng.random() < 0.5:
        # An image that is not square fits again only after a half turn.
        part = np.rot90(part, int(rng.integers(1, 4)) if height == width else 2)
    if rng.random() < 0.3:
        part = _enlarged(rng, part, 1 / 4, 1 / 2)
    gain = rng.uniform(0.7, 1.3)
    shift = 0.5 * (1 - gain) + 0.08 * rng.normal()
    return Fill(np.ascontiguousarray(part), rng.uniform(0.4, 1), gain, shift=shift)


def fill_tone(rng: np.random.Generator, scene: Scene, opacity: tuple[float, float]) -> Fill:
    """The image itself, blurred, or lighter, darker, of another contrast or tint."""
    if rng.random() < 0.3:
        sigma = rng.uniform(2, 6) * min(scene.image.shape[:2]) / 256
        blurred = cv2.GaussianBlur(scene.image, (0, 0), sigma).astype(np.uint8, copy=False)
        return Fill(blurred, 1.0, shift=0.06 * rng.normal())
    shift = rng.choice((-1, 1)) * rng.uniform(0.06, 0.4)
    tint = 1.0 if scene.grey or rng.random() < 0.5 else rng.uniform(-1, 1, 3)
    gain = rng.uniform(0.3, 1.5)  # of the difference to the mean colour, which stays
    return Fill(scene.image, 1.0, gain, 1 - gain, shift * tint)


def fill_flat(rng: np.random.Generator, scene: Scene, opacity: tuple[float, float]) -> Fill:
    """One colour with some noise."""
    coloured = not scene.grey and rng.random() < 0.5
    colour: Any = rng.uniform(0, 255, 3) if coloured else np.full(3, rng.uniform(0, 255))
    noise = rng.standard_normal(scene.image.shape[:2], np.float32)
    noise *= 255 * rng.uniform(0, 0.1)
    # Rounds and clips, ten times as fast as NumPy.
    channels = [cv2.add(noise, value, dtype=cv2.CV_8U) for value in colour.tolist()]
    return Fill(cv2.merge(channels).astype(np.uint8, copy=False), rng.uniform(0.3, 1))


FILLS: dict[str, Callable[[np.random.Generator, Scene, tuple[float, float]], Fill]] = {
    "texture": fill_texture,
    "self": fill_self,
    "tone": fill_tone,
    "flat": fill_flat,
}


def _enlarged(rng: np.random.Generator, picture: Picture, low: float, high: float) -> Picture:
    """A part of the given share of the sides, enlarged to the size of the picture."""
    height, width = picture.shape[:2]
    share = rng.uniform(low, high)
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    part = np.ascontiguousarray(picture[top : top + rows, left : left + columns])
    large = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
    return large.astype(np.uint8, copy=False)


def _without_colour(picture: Picture) -> Picture:
    """The mean of the channels, in all three of them."""
    grey = cv2.transform(picture, np.full((3, 3), 1 / 3, np.float32))
    return grey.astype(np.uint8, copy=False)


def _mean(picture: Picture) -> Colour:
    return np.array(cv2.mean(picture)[:3]) / 255
