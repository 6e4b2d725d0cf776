"""Work of the processor around the network in `padseg detect`: decoding, resizing, thresholds, pictures, files.

    python tests/benchmarks/detect.py [--sides 900 2048] [--images 16] [--batch-size 8] [--wait 4]

Milliseconds of processor time an image: of the thread that drives the network, which a GPU waits for, and of all
threads together. The network is a fixed answer that takes `--wait` milliseconds an image without using the processor,
as a GPU does.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from padseg.inference import Predictor
from padseg.inference.detect import detect
from padseg.metrics.calibration import Calibration
from padseg.modules import StudentDistillModule


def make_images(folder: Path, side: int, count: int) -> None:
    """Photographs, about as hard to decode as real ones."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        coarse = rng.integers(0, 256, (side // 30, side // 30, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(smooth + rng.integers(-4, 5, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png", compress_level=1)


def make_predictor(options: argparse.Namespace) -> Predictor:
    """Around an untrained network that answers always the same."""
    module = StudentDistillModule("stpm", weights="random").eval()
    predictor = Predictor(module, "cpu", "32-true", batch_size=options.batch_size)
    height, width = module.image_size
    answer = predictor.score(torch.rand(1, 3, height, width))
    threshold = float(answer["score_map"].quantile(0.99))
    module.calibration = Calibration(
        threshold,
        threshold,
        false_alarm_rate=0.01,
        pixel_rate=0.001,
        expected_false_alarm_rate=0.5,
        normal_images=1,
    )

    def forward(image: torch.Tensor) -> dict[str, torch.Tensor]:
        time.sleep(options.wait / 1000 * len(image))
        return {name: value.expand(len(image), *value.shape[1:]) for name, value in answer.items()}

    module.forward = forward
    return predictor


def measure(options: argparse.Namespace, predictor: Predictor, images: Path) -> tuple[float, float]:
    """Milliseconds of processor time an image: of this thread, and of all."""
    with tempfile.TemporaryDirectory() as out:
        begin = time.thread_time(), time.process_time()
        detect([images], Path(out) / "out", predictor)
        end = time.thread_time(), time.process_time()
    return tuple(1000 * (b - a) / options.images for a, b in zip(begin, end, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[900, 2048], help="in pixels")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--wait", type=float, default=4, help="of the network, ms an image")
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = make_predictor(options)
    table = Table("pixels", "driving thread, ms", "all threads, ms", box=None)
    with tempfile.TemporaryDirectory() as folder:
        for side in options.sides:
            make_images(Path(folder) / str(side), side, options.images)
            driving, total = measure(options, predictor, Path(folder) / str(side))
            table.add_row(f"{side}x{side}", f"{driving:.1f}", f"{total:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
