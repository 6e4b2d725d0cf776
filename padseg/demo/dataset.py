"""The demo set: a small generated data set and the small teacher that goes with it.

Three kinds of parts are painted in the folder layout of MVTec AD, good ones and defective ones with
exact masks, together with a folder of textures for synthetic defects. The defects of the test set are
strokes, blots, bowls and manufacturing faults, each drawn by its own painter; the textures are flat
patterns. Nothing that training sees is drawn by the painters of test defects.

There are no pretrained weights here. The teacher is timm's `test_byobnet` as initialised after
`torch.manual_seed(2)`, with the means and variances of its batch norms computed from the textures of the
demo set, in float16. Of seeds 0 to 2, this one had the best IAP@90 on another demo set (`make_demo` with seed
1). A `test_resnet` that had learned to tell 256 textures apart had a lower pixel AP than an untrained one. The
teacher is stored as a file, so that it does not change with timm or torch.
"""

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from padseg.demo.defects import CATEGORIES
from padseg.demo.paint import camera
from padseg.errors import DataError
from padseg.options import one_of
from padseg.synthesis.textures import TEXTURES, texture

DEMO_CATEGORIES: tuple[str, ...] = tuple(CATEGORIES)
DEMO_TEACHER = Path(__file__).with_name("teacher.safetensors")

_VERSION = 1
_RECORD = "demo.json"
_TRAIN, _GOOD, _EACH_DEFECT, _EACH_TEXTURE = 48, 10, 4, 9
# A pixel belongs to a defect when the defect covers about a third of it.
_COVERED = 0.35


def make_demo(root: Path, seed: int = 0, categories: Sequence[str] = DEMO_CATEGORIES) -> Path:
    """Write the demo set into `root`, all of it or nothing.

    Args:
        root: folder to make; holds `<category>/{train,test,ground_truth}` and `textures/<kind>`
            afterwards. If the same set is already there, it is left as it is.
        seed: every picture depends only on (seed, category, split, number).
        categories: those of `DEMO_CATEGORIES` to paint.

    Returns:
        `root`.

    Raises:
        ConfigError: a category that does not exist.
        DataError: `root` holds something else.
    """
    for name in categories:
        one_of("category of the demo set", name, DEMO_CATEGORIES)
    names = sorted(set(categories))
    record = {"version": _VERSION, "seed": seed, "categories": names}
    if _complete(root, record):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for name in names:
            _paint_category(draft / name, name, seed)
        _paint_textures(draft / "textures", seed)
        (draft / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        if root.is_dir():
            root.rmdir()  # empty: Windows does not rename onto a folder
        draft.rename(root)
    except OSError:
        # Another process may have finished the same set in between.
        if not _complete(root, record):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def _complete(root: Path, record: dict[str, object]) -> bool:
    """Whether `root` holds this very set; False if there is nothing yet."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != record:
        raise DataError(
            f"{root} exists and is not this demo set: remove it or name another folder."
        )
    return True


def _generator(seed: int, *names: str | int) -> np.random.Generator:
    """A separate generator for each picture, so that none depends on the number of earlier ones."""
    return np.random.default_rng([seed, zlib.crc32("/".join(map(str, names)).encode())])


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def _paint_category(folder: Path, name: str, seed: int) -> None:
    part, defects = CATEGORIES[name]
    for split, count in (("train", _TRAIN), ("test", _GOOD)):
        for k in range(count):
            rng = _generator(seed, name, split, "good", k)
            _save(folder / split / "good" / f"{k:03d}.png", camera(part(rng).image, rng))
    for kind, defect in defects.items():
        for k in range(_EACH_DEFECT):
            rng = _generator(seed, name, "test", kind, k)
            image, cover = defect(part(rng), rng)
            mask = np.where(cover > _COVERED, 255, 0).astype(np.uint8)
            _save(folder / "test" / kind / f"{k:03d}.png", camera(image, rng))
            _save(folder / "ground_truth" / kind / f"{k:03d}_mask.png", mask)


def _paint_textures(folder: Path, seed: int) -> None:
    for kind in TEXTURES:
        for k in range(_EACH_TEXTURE):
            rng = _generator(seed, "textures", kind, k)
            _save(folder / kind / f"{k:03d}.png", texture(kind, rng))
