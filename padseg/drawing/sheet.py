"""Pictures for people: an image beside its overlay, or beside mask, score map and overlay, under a verdict."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from padseg.drawing.contour import outline
from padseg.drawing.heat import COLOURS, HeatScale, Pixels, heatmap, tint
from padseg.drawing.text import score_text, write

_LEAST = 256  # pixels of a panel's longer side; smaller images are enlarged
_SCREEN = 16 / 9  # aspect ratio of the screen that the panels should fill
_WHITE, _PAPER, _QUIET = "#ffffff", "#e4e8ed", "#3f4a58"
_ALARM, _FINE, _UNKNOWN = "#c04e00", "#0072b2", "#586474"


class Banner(NamedTuple):
    """What is written above a picture.

    Attributes:
        verdict: Such as `ANOMALOUS`.
        alarm: Whether it asks for attention: orange if so, otherwise blue; None without a verdict.
        score: The score and its threshold.
        name: Name of the image; empty for none.
    """

    verdict: str
    alarm: bool | None
    score: str
    name: str = ""


class Label(NamedTuple):
    """What is written above a panel.

    Attributes:
        text: Name of the panel; empty for none.
        score: A score in its legend.
        colour: The colour of that score, (3,) uint8.
    """

    text: str
    score: float | None = None
    colour: NDArray[np.uint8] | None = None


def overlay(
    image: Pixels,
    score_map: NDArray[np.floating[Any]],
    scale: HeatScale,
    outlined: bool = True,
) -> Pixels:
    """Colour what exceeds the pixel threshold, and outline it.

    Args:
        image: (H, W, 3) uint8.
        score_map: (H, W), in [0, 1].
        scale: Its threshold is the pixel threshold; without one, nothing is outlined.
        outlined: Whether to draw the outlines; they are left out where the image is judged normal.
    """
    tinted = tint(image, score_map, scale)
    if scale.threshold is None or not outlined:
        return tinted
    return outline(tinted, score_map > scale.threshold)


def enlarged(
    image: Pixels, score_map: NDArray[np.floating[Any]], least: int
) -> tuple[Pixels, NDArray[np.floating[Any]]]:
    """Image and score map, by a whole factor if both sides are shorter than `least`."""
    factor = -(-least // max(image.shape[:2]))
    if factor <= 1:
        return image, score_map
    size = image.shape[1] * factor, image.shape[0] * factor
    return _resized(image, size), _resized(score_map.astype(np.float32), size)


def judged(
    image: Pixels,
    score_map: NDArray[np.floating[Any]],
    scale: HeatScale,
    banner: Banner,
    outlined: bool = True,
) -> Image.Image:
    """The image beside its overlay, in full size, under the verdict.

    Args:
        image: (H, W, 3) uint8; enlarged if both sides are shorter than 256.
        score_map: (H, W), in [0, 1].
        scale: As in `overlay`.
        banner: As in `sheet`.
        outlined: As in `overlay`.
    """
    image, score_map = enlarged(image, score_map, _LEAST)
    laid = overlay(image, score_map, scale, outlined)
    return sheet([(Label(""), image), (Label(""), laid)], banner)


def panels(
    image: Pixels,
    mask: NDArray[np.bool_],
    score_map: NDArray[np.floating[Any]],
    scale: HeatScale,
    banner: Banner,
    outlined: bool = True,
    side: int = _LEAST,
) -> Image.Image:
    """Image, true defect, score map and overlay under the verdict.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        score_map: (H, W), in [0, 1].
        scale: As in `overlay`.
        banner: As in `sheet`.
        outlined: As in `overlay`.
        side: Pixels of the longer side of each panel.
    """
    factor = side / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    image, score_map = _resized(image, size), _resized(score_map.astype(np.float32), size)
    mask = _resized(mask.astype(np.uint8), size) > 0
    black_and_white = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    if scale.threshold is None:
        score_map_label = Label("score map, highest", scale.top, COLOURS[255])
        overlay_label = Label("overlay")
    else:
        score_map_label = Label("score map, threshold", scale.threshold, COLOURS[128])
        overlay_label = Label("above the threshold")
    shown = [
        (Label("image"), image),
        (Label("true defect"), black_and_white),
        (score_map_label, heatmap(score_map, scale)),
        (overlay_label, overlay(image, score_map, scale, outlined)),
    ]
    return sheet(shown, banner)


def sheet(shown: Sequence[tuple[Label, Pixels]], banner: Banner) -> Image.Image:
    """Pictures of the same size in rows, each below its label, under a banner.

    Args:
        shown: Each picture, (H, W, 3) uint8, with its label.
        banner: What is written above them.
    """
    height, width = shown[0][1].shape[:2]
    columns = _columns(len(shown), width / height)
    rows = -(-len(shown) // columns)
    full = max(columns * width, _LEAST)
    sides = sorted((full, rows * height))
    letter = max(16, round(min(sides[1], 4 * sides[0]) / 50))
    gap = max(4, letter // 3)
    caption = round(1.4 * letter) if any(each.text for each, _ in shown) else 0
    lines = 2 if banner.name or full < 24 * letter else 1
    head = lines * round(1.6 * letter) + gap
    page = (full + (columns + 1) * gap, head + rows * (caption + height + gap) + gap)
    picture = Image.new("RGB", page, _PAPER)
    draw = ImageDraw.Draw(picture)
    _head(draw, banner, (page[0], head), letter, lines)
    for place, (label, pixels) in enumerate(shown):
        row, column = divmod(place, columns)
        left = gap + column * (max(width, full // columns) + gap)
        top = head + gap + row * (caption + height + gap)
        _caption(draw, (left, top + caption // 2), label, round(0.8 * letter), width)
        picture.paste(Image.fromarray(pixels), (left, top + caption))
    return picture


def stamped(picture: Pixels, banner: Banner) -> Image.Image:
    """A small picture, (H, W, 3) uint8, above a bar in the colour of the verdict, with the score in large letters."""
    height, width = picture.shape[:2]
    bar = max(16, width // 5)
    stamp = Image.new("RGB", (width, height + bar), verdict_colour(banner.alarm))
    stamp.paste(Image.fromarray(picture))
    left, middle = bar // 4, height + bar // 2
    letter, draw = round(0.8 * bar), ImageDraw.Draw(stamp)
    write(draw, (left, middle), banner.score, letter, _WHITE, width - left)
    return stamp


def _columns(count: int, aspect: float) -> int:
    """The number of columns with which `count` pictures fill a screen best."""
    return max(
        range(1, count + 1),
        key=lambda columns: min(_SCREEN / (columns * aspect), 1 / -(-count // columns)),
    )


def verdict_colour(alarm: bool | None) -> str:
    """The colour behind a verdict, see `Banner`: orange, blue or grey, as for the web."""
    return _UNKNOWN if alarm is None else _ALARM if alarm else _FINE


def _head(
    draw: ImageDraw.ImageDraw, banner: Banner, size: tuple[int, int], letter: int, lines: int
) -> None:
    draw.rectangle((0, 0, size[0], size[1]), verdict_colour(banner.alarm))
    left, line = letter // 2, size[1] // lines
    room = size[0] - letter
    used = write(draw, (left, line // 2), banner.verdict, round(1.15 * letter), _WHITE, room)
    if banner.name or lines == 1:
        right = left + used + letter
        write(draw, (right, line // 2), banner.score, letter, _WHITE, size[0] - right)
    if lines == 2:
        second = banner.name or banner.score
        write(draw, (left, line + line // 2), second, round(0.8 * letter), _WHITE, room)


def _caption(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], label: Label, letter: int, width: int
) -> None:
    text = label.text if label.score is None else f"{label.text} {score_text(label.score)}"
    if label.colour is not None:
        width -= 3 * letter // 2  # for the gap and the square
    left = at[0] + write(draw, at, text, letter, _QUIET, width) + letter // 2
    if label.colour is not None:
        half = letter // 2
        square = (left, at[1] - half, left + 2 * half, at[1] + half)
        draw.rectangle(square, tuple(label.colour.tolist()))


def _resized(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    binary = values.dtype == np.uint8 and values.ndim == 2
    kind = Image.Resampling.NEAREST if binary else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(values).resize(size, kind))
