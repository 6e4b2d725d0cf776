"""The pictures of a report: reduced in size, as data URIs, within a budget."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from padseg.drawing import HeatScale
from padseg.records import spread, worst_first
from padseg.records.score_maps import LARGEST
from padseg.report.runs import FinishedRun

BUDGET = 24 * 2**20
"""Upper limit for the characters of all pictures together, without scores and tables."""

_SIDE = 192
_STEP = 8  # of levels; coarser ones compress better
_SAMPLED_MAPS = 64
_WORST = 8
# What Pillow raises for files that are missing, truncated or not pictures.
_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class PagePictures:
    """Data URIs of images, masks and score maps.

    Images are stored by category and path, so that systems share them. The categories take turns, the
    worst verdicts first, then evenly over the ranking by score, until the budget is used up. The maps
    of each label's first seed come before those of its other seeds.

    Attributes:
        images: From (category, path) to the image and its mask, which is None for a normal image.
        maps: From (number of the run, index) to the levels of the score map, 8-bit grey. With a pixel
            threshold, the pixels above it are at level 128 or higher, up to the rounding of the 16-bit maps.
        scales: The scale of each run's levels.
        left_out: Images whose pictures exist but did not fit.
    """

    def __init__(self, runs: list[FinishedRun], budget: int = BUDGET) -> None:
        self.images: dict[tuple[str, str], tuple[str, str | None]] = {}
        self.maps: dict[tuple[int, int], str] = {}
        self.left_out = 0
        self._left = budget
        self._runs = runs
        self.scales = [shown_scale(run) for run in runs]
        first: dict[tuple[str, str], int] = {}
        places: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for number, run in enumerate(runs):
            if len(run.images):
                first.setdefault((run.category, run.label), number)
            for row in run.images.to_dict("records"):
                places.setdefault((run.category, row["path"]), []).append((number, row["index"]))
        leading = set(first.values())
        for name in _in_turn(runs, leading):
            self._add_image(name, [place for place in places[name] if place[0] in leading])
        for name in list(self.images):
            self._add_maps([place for place in places[name] if place[0] not in leading])

    def _add_image(self, name: tuple[str, str], places: list[tuple[int, int]]) -> None:
        for number, index in places:
            run = self._runs[number]
            image = _jpeg(run.picture("thumbs", index))
            if image is None:
                continue
            mask = _mask(run.picture("masks", index))
            size = len(image) + len(mask or "")
            if size > self._left:
                self.left_out += 1
            else:
                self._left -= size
                self.images[name] = (image, mask)
                self._add_maps(places)
            return

    def _add_maps(self, places: list[tuple[int, int]]) -> None:
        for number, index in places:
            score_map = _score_map(self._runs[number].picture("maps", index), self.scales[number])
            if score_map is not None and len(score_map) <= self._left:
                self._left -= len(score_map)
                self.maps[number, index] = score_map


def shown_scale(run: FinishedRun) -> HeatScale:
    """The scale of the colours of a run's maps.

    Without a calibrated threshold, it ends at the 99.9th percentile over the pixels of at most 64 maps,
    evenly over the ranking; at 1 without maps. Systems differ by orders of magnitude in their scores.
    """
    if run.result.calibration is not None:
        return HeatScale.of(run.result.calibration.pixel_scale)
    ordered = run.images.sort_values("image_score", kind="stable")["index"]
    paths = [run.picture("maps", int(index)) for index in ordered]
    paths = [path for path in paths if path.is_file()]
    counts = np.zeros(LARGEST + 1, dtype=np.int64)
    for place in spread(len(paths), _SAMPLED_MAPS):
        pixels = _read_map(paths[place])
        if pixels is not None:
            counts += np.bincount(pixels.ravel(), minlength=LARGEST + 1)
    if not counts.any():
        return HeatScale(None)
    below = np.cumsum(counts) / counts.sum()
    return HeatScale(None, top=max(int(np.searchsorted(below, 0.999)), 1) / LARGEST)


def _in_turn(runs: list[FinishedRun], leading: set[int]) -> Iterator[tuple[str, str]]:
    """Category and path of every image of the leading runs, with the categories taking turns."""
    queues: dict[str, list[str]] = {}
    for number in sorted(leading):
        queue = queues.setdefault(runs[number].category, [])
        known = set(queue)
        queue += [path for path in _telling_first(runs[number].images) if path not in known]
    longest = max(map(len, queues.values()), default=0)
    for place in range(longest):
        for category, queue in queues.items():
            if place < len(queue):
                yield category, queue[place]


def _telling_first(images: pd.DataFrame) -> list[str]:
    """Paths: the worst verdicts, then all others in an order that covers the ranking evenly from the start."""
    normal, defective = worst_first(images, _WORST)
    worst = images.set_index("index").loc[[*normal, *defective], "path"]
    paths: list[Any] = images.sort_values("image_score", kind="stable")["path"].tolist()
    # Counting with reversed bits halves the largest gap again and again (van der Corput).
    places = sorted(range(len(paths)), key=lambda place: f"{place:032b}"[::-1])
    return list(dict.fromkeys([*worst, *(paths[place] for place in places)]))


def _jpeg(path: Path) -> str | None:
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except _BROKEN:
        return None
    image.thumbnail((_SIDE, _SIDE))
    return _uri(image, "jpeg", quality=80)


def _mask(path: Path) -> str | None:
    try:
        with Image.open(path) as file:
            mask = file.convert("L")
    except _BROKEN:
        return None
    return _uri(mask.point(lambda value: 255 if value else 0).convert("1"), "png", optimize=True)


def _score_map(path: Path, scale: HeatScale) -> str | None:
    pixels = _read_map(path)
    if pixels is None:
        return None
    image = Image.fromarray((pixels / LARGEST).astype(np.float32))
    image.thumbnail((_SIDE, _SIDE))
    scores = np.asarray(image)
    levels = (scale.levels(scores) * 255).round().astype(np.uint8)
    if scale.threshold is not None:
        found = scores > scale.threshold
        levels = np.where(found, np.maximum(levels, 128), np.minimum(levels, 127))
    # Lossless, because a contour follows a single level.
    return _uri(Image.fromarray(levels // _STEP * _STEP), "png", optimize=True)


def _read_map(path: Path) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file).astype(np.int64)
    except _BROKEN:
        return None
    return pixels if pixels.ndim == 2 and pixels.min() >= 0 and pixels.max() <= LARGEST else None


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
