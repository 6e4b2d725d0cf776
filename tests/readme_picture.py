"""The picture in the README: what training on the demo set sees, and what a finished demo finds.

python tests/readme_picture.py FOLDER draws .github/demo.png from the folder of `padseg demo`.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from padseg.data import AnomalyDataModule
from padseg.drawing import HeatScale, heatmap, overlay
from padseg.inference import Predictor
from padseg.synthesis import SynthesisParams

PICTURE = Path(__file__).parents[1] / ".github/demo.png"
# Category, number of a training sample, test image.
ROWS = (("fabric", 1, "thread/000"), ("wood", 3, "crack/001"), ("cap", 4, "scratch/000"))
TRAINING = ("normal image", "synthetic defect", "its mask")
TESTING = ("test image", "true defect", "score map", "found")
_SIDE, _GAP, _BETWEEN, _HEAD = 168, 6, 30, 58

Pixels = NDArray[np.uint8]


def trained_on(root: Path, category: str, sample: int) -> list[Pixels]:
    """A pair as training sees it."""
    data = AnomalyDataModule(
        str(root),
        category,
        str(root / "textures"),
        image_size=_SIDE,
        augmentation="none",
        synthesis=SynthesisParams(backend="mixed", probability=0.92),
    )
    pairs = data.pairs(sample, 1)
    shown = (pairs["clean"], pairs["corrupted"], pairs["mask"].expand(-1, 3, -1, -1))
    return [(one[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for one in shown]


def found_in(demo: Path, category: str, name: str) -> list[Pixels]:
    """A test image, its defect, the score map, and what exceeds the threshold."""
    folder = demo / "data" / category
    predictor = Predictor(demo / "runs/demo" / category / "seed0/segment.ckpt", device="cpu")
    image = Image.open(folder / "test" / f"{name}.png").resize((_SIDE, _SIDE))
    mask = Image.open(folder / "ground_truth" / f"{name}_mask.png").resize((_SIDE, _SIDE))
    found = predictor(image)
    assert found.calibration is not None
    scale = HeatScale.of(found.calibration.pixel_scale)
    return [
        found.image,
        np.asarray(mask.convert("RGB")),
        heatmap(found.score_map, scale),
        overlay(found.image, found.score_map, scale),
    ]


def draw(rows: list[list[Pixels]]) -> Image.Image:
    """The panels in rows, with their names above."""
    names = (*TRAINING, *TESTING)
    left = [k * (_SIDE + _GAP) + (_BETWEEN if k >= len(TRAINING) else 0) for k in range(len(names))]
    size = left[-1] + _SIDE, _HEAD + len(rows) * (_SIDE + _GAP) - _GAP
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    for x, title in ((0, "Training"), (left[len(TRAINING)], "Testing")):
        pen.text((x, 4), title, "black", ImageFont.load_default(20), stroke_width=0.4)
    for x, name in zip(left, names, strict=True):
        pen.text((x, 33), name, "#444", ImageFont.load_default(16))
    for number, panels in enumerate(rows):
        for x, panel in zip(left, panels, strict=True):
            picture.paste(Image.fromarray(panel), (x, _HEAD + number * (_SIDE + _GAP)))
    return picture


if __name__ == "__main__":
    demo = Path(sys.argv[1])
    rows = [
        [*trained_on(demo / "data", category, sample), *found_in(demo, category, name)]
        for category, sample, name in ROWS
    ]
    draw(rows).save(PICTURE, optimize=True)
