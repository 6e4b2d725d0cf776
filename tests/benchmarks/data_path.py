"""Images a second that one core prepares for training; painting the defects, which the device does, is left out.

    python tests/benchmarks/data_path.py [--rotate none slight full] [--backend perlin mixed] [--jitter]
        [--image-size 256] [--batch-size 32] [--rounds 5] [--root mvtec_ad --category bottle --textures dtd/images]

The work of the training's own DataLoader, from decoded images to batches: reading the image and its texture,
rotating, drawing the defect, collating. It is done once in this process, and once in a worker process, whose
batches are passed on in shared memory. Rates are per second of processor time of both processes together, so
that a busy machine changes them little; the best round counts. Without --root the pictures are generated, 900x900 PNG
and 640x480 JPEG as in MVTec AD and DTD.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import default_collate, get_worker_info

from padseg.data import AnomalyDataModule
from padseg.data.samplers import CountedSampler
from padseg.synthesis import SynthesisParams

ROTATIONS = ("none", "slight", "full")
BACKENDS = ("perlin", "mixed")
WARM_UP, BATCHES = 2, 12


def make_pictures(root: Path, count: int) -> None:
    """Pictures as large as the real ones, and about as hard to decode."""
    rng = np.random.default_rng(0)

    def picture(height: int, width: int) -> Image.Image:
        coarse = rng.integers(0, 256, (height // 30, width // 30, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(-4, 5, smooth.shape)
        return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))

    for folder in ("bottle/train/good", "bottle/test/good", "textures/kind"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        picture(900, 900).save(root / f"bottle/train/good/{index:03}.png", compress_level=1)
        picture(480, 640).save(root / f"textures/kind/{index:03}.jpg")


def make_data(options: argparse.Namespace, rotate: str, backend: str) -> AnomalyDataModule:
    textures = options.textures or options.root / "textures"
    return AnomalyDataModule(
        str(options.root),
        options.category,
        str(textures),
        image_size=options.image_size,
        batch_size=options.batch_size,
        augmentation=rotate,
        jitter_textures=options.jitter,
        synthesis=SynthesisParams(backend=backend),
    )


def rate(data: AnomalyDataModule, workers: int) -> float:
    """Images per second of processor time of this process and a worker, after the first batches."""
    data.num_workers = workers
    assert data._train is not None
    count = BATCHES * data.batch_size
    loader = data._loader(data._train, CountedSampler(0, count, data.batch_size, 1, 0))
    loader.collate_fn = timed
    times = [time.process_time() + batch["worker"] for batch in loader]
    return (BATCHES - WARM_UP) * data.batch_size / (times[-1] - times[WARM_UP - 1])


def timed(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch, with the processor time of the worker that collated it; 0 without a worker."""
    batch: dict[str, Any] = default_collate(samples)
    return batch | {"worker": time.process_time() if get_worker_info() else 0.0}


def measure(options: argparse.Namespace) -> Iterable[tuple[tuple[str, str], list[float]]]:
    """The best rates in this process and with a worker; the kinds of work take turns."""
    kinds = list(product(options.rotate, options.backend))
    sets = {kind: make_data(options, *kind) for kind in kinds}
    for data in sets.values():
        data.setup("fit")
    best = {kind: [0.0, 0.0] for kind in kinds}
    for _ in range(options.rounds):
        for kind, data in sets.items():
            rates = [rate(data, workers) for workers in (0, 1)]
            best[kind] = [max(pair) for pair in zip(best[kind], rates, strict=True)]
    return best.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rotate", nargs="+", default=ROTATIONS, help="of normal images")
    parser.add_argument("--backend", nargs="+", default=BACKENDS, help="of the defects")
    parser.add_argument("--jitter", action="store_true", help="change the textures' colours")
    parser.add_argument("--image-size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--root", type=Path, help="folder of the data set (default: generated)")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--textures", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        if options.root is None:
            options.root = Path(folder)
            make_pictures(options.root, 16)
        table = Table("rotation", "defects", "images/s", "with a worker", box=None)
        for (rotate, backend), rates in measure(options):
            table.add_row(rotate, backend, *(f"{value:.0f}" for value in rates))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
