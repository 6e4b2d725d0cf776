"""Pictures for people: heatmaps, overlays with contours, and panels with labels.

Colours come from viridis, whose lightness rises evenly, so that it can be read without colour vision.
Contours are white with a black rim, which is visible on any image.
"""

import unicodedata
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]  # (H, W, 3)

# In pixels: between panels, for the title, for the labels, and the width of a label.
_GAP, _HEAD, _LEGEND, _CELL = 8, 34, 22, 200
_BAND = 2**22  # pixels
_INK, _PALE = "#141414", "#5a5a5a"


def heatmap(score_map: NDArray[np.floating], top: float = 1.0) -> Pixels:
    """Colour a score map.

    Args:
        score_map: (H, W); 0 is dark violet.
        top: The score from which on the colour is bright yellow.

    Returns:
        (H, W, 3) uint8.
    """
    level = np.clip(score_map / max(top, 1e-12), 0, 1)
    coloured = cv2.applyColorMap((level * 255).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return np.ascontiguousarray(coloured[..., ::-1], dtype=np.uint8)


def outline(image: Pixels, region: NDArray[np.bool_]) -> Pixels:
    """Draw the border of a region, (H, W) bool, around it: white, with a black rim outside."""
    around = np.ones((3, 3), dtype=np.uint8)
    inner = region.astype(np.uint8)
    middle = cv2.dilate(inner, around)
    outer = cv2.dilate(middle, around)
    drawn = image.copy()
    drawn[outer > middle] = 0
    drawn[middle > inner] = 255
    return drawn


def overlay(
    image: Pixels, score_map: NDArray[np.floating], threshold: float | None, top: float = 1.0
) -> Pixels:
    """Lay the heatmap over the image, more opaque the higher the score, and outline what is found.

    Args:
        image: (H, W, 3) uint8.
        score_map: (H, W).
        threshold: Pixels above it are outlined; None for no outline.
        top: As in `heatmap`.
    """
    mixed = np.empty_like(image)
    rows = max(1, _BAND // image.shape[1])
    for start in range(0, len(image), rows):  # the floats of a whole scan would take gigabytes
        band = slice(start, start + rows)
        share = 0.7 * np.sqrt(np.clip(score_map[band] / max(top, 1e-12), 0, 1))[..., None]
        hot = heatmap(score_map[band], top)
        mixed[band] = (image[band] * (1 - share) + hot * share).round()
    return mixed if threshold is None else outline(mixed, score_map > threshold)


def panels(
    image: Pixels,
    mask: NDArray[np.bool_],
    score_map: NDArray[np.floating],
    title: str,
    threshold: float | None = None,
    top: float = 1.0,
    side: int = 256,
) -> Image.Image:
    """Image, mask, heatmap and overlay side by side, with a title and a legend.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        score_map: (H, W).
        title: What the picture shows.
        threshold: As in `overlay`.
        top: As in `heatmap`.
        side: Pixels of the longer side of each panel.
    """
    factor = side / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    image, score_map = _resized(image, size), _resized(score_map.astype(np.float32), size)
    mask = _resized(mask.astype(np.uint8), size) > 0
    shown = (
        ("image", image),
        ("mask", np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255),
        ("score map", heatmap(score_map, top)),
        (
            "overlay" if threshold is None else f"overlay, outlined above {threshold:.3f}",
            overlay(image, score_map, threshold, top),
        ),
    )
    cell, upper = max(size[0], _CELL) + _GAP, _HEAD + _LEGEND
    picture = Image.new("RGB", (_GAP + len(shown) * cell, upper + size[1] + _GAP), "white")
    draw = ImageDraw.Draw(picture)
    _write(draw, (_GAP, _HEAD - 6), title, 18, _INK)
    for place, (label, pixels) in enumerate(shown):
        left = _GAP + place * cell
        picture.paste(Image.fromarray(pixels), (left, upper))
        edges = (left - 1, upper - 1, left + size[0], upper + size[1])
        draw.rectangle(edges, outline=_PALE)
        _write(draw, (left, upper - 6), label, 14, _PALE)
        if label == "score map":
            bar = heatmap(np.tile(np.linspace(0, 1, 60), (10, 1)))
            picture.paste(Image.fromarray(bar), (left + 90, upper - 15))
            _write(draw, (left + 78, upper - 6), "0", 14, _PALE)
            _write(draw, (left + 155, upper - 6), f"{top:.3f}", 14, _PALE)
    return picture


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: str
) -> None:
    # Pillow's font has only ASCII: other letters lose their accents or become question marks.
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = plain.replace("ß", "ss").encode("ascii", "replace").decode()
    draw.text(at, plain, colour, ImageFont.load_default(size), anchor="ls")


def _resized(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    binary = values.dtype == np.uint8 and values.ndim == 2
    kind = Image.Resampling.NEAREST if binary else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(values).resize(size, kind))
