"""The picture in the README: what training on the demo set sees, and what a finished demo finds.

python tests/readme_picture.py FOLDER draws .github/demo.png from the folder of `padseg demo`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.functional import to_pil_image

from padseg.data import AnomalyDataModule
from padseg.drawing import HeatScale, heatmap, overlay
from padseg.inference import Predictor
from padseg.synthesis import SynthesisParams

PICTURE = Path(__file__).parents[1] / ".github/demo.png"
# Category, number of a training sample, test image.
ROWS = (("fabric", 0, "thread/000"), ("wood", 9, "crack/001"), ("cap", 4, "scratch/000"))
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
        image_size=192,
        augmentation="none",
        synthesis=SynthesisParams(backend="mixed", probability=0.92),
    )
    pairs = data.pairs(sample, 1)
    shown = (pairs["clean"][0], pairs["corrupted"][0], pairs["mask"][0])
    return [resized(to_pil_image(one).convert("RGB")) for one in shown]


def found_in(demo: Path, category: str, name: str) -> list[Pixels]:
    """A test image, its defect, the score map, and what exceeds the threshold."""
    folder = demo / "data" / category
    predictor = Predictor(demo / "runs/demo" / category / "seed0/segment.ckpt", device="cpu")
    found = predictor(folder / "test" / f"{name}.png")
    assert found.calibration is not None
    scale = HeatScale.of(found.calibration.pixel_scale)
    image, score_map = resized(found.image), resized(found.score_map)
    mask = Image.open(folder / "ground_truth" / f"{name}_mask.png").convert("RGB")
    return [image, resized(mask), heatmap(score_map, scale), overlay(image, score_map, scale)]


def resized(picture: Image.Image | NDArray[Any]) -> NDArray[Any]:
    """A picture or a map at the side of a panel."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def draw(rows: list[list[Pixels]]) -> Image.Image:
    """The panels in rows, with their names above."""
    names = (*TRAINING, *TESTING)
    left = [k * (_SIDE + _GAP) + (_BETWEEN if k >= len(TRAINING) else 0) for k in range(len(names))]
    size = left[-1] + _SIDE, _HEAD + len(rows) * (_SIDE + _GAP) - _GAP
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    for x, title in ((0, "Training"), (left[len(TRAINING)], "Testing")):
        pen.text((x, 2), title, "black", ImageFont.load_default(22))
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
