"""Metrics and speed of an exported ONNX network on the test images of a category.

    padseg export distill.ckpt --format onnx --out full.onnx
    padseg export distill.ckpt --format onnx --out int8.onnx --int8 mvtec_ad/bottle/train/good
    python tests/benchmarks/exported.py full.onnx int8.onnx --root mvtec_ad --category bottle

prints a Markdown table: file size, CPU time per image in one thread, and all metrics in percent.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from padseg.data import AnomalyDataModule
from padseg.metrics import ImageMetrics, PixelMetrics


def evaluate(path: Path, root: Path, category: str) -> tuple[float, dict[str, float]]:
    """Milliseconds an image and the figures."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    described = json.loads(session.get_modelmeta().custom_metadata_map["padseg"])
    data = AnomalyDataModule(
        str(root),
        category,
        image_size=described["image_size"],
        batch_size=1,
        num_workers=0,
        synthesis=None,
    )
    data.setup("test")
    names = [output.name for output in session.get_outputs()]
    pixel, image, milliseconds = PixelMetrics(), ImageMetrics(), []
    for batch in data.test_dataloader():
        pixels = batch["image"].numpy()
        start = time.process_time()
        found = dict(zip(names, session.run(names, {"image": pixels}), strict=True))
        milliseconds.append(1000 * (time.process_time() - start))
        pixel.update(torch.from_numpy(found["score_map"]), batch["mask"], batch["regions"])
        image.update(torch.from_numpy(found["image_score"]), batch["label"])
    figures = image.compute() | pixel.compute()
    return float(np.median(milliseconds)), {k: float(v) for k, v in figures.items()}


def main() -> None:
    """Evaluate each network and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--category", required=True)
    options = parser.parse_args()
    for place, path in enumerate(options.networks):
        milliseconds, figures = evaluate(path, options.root, options.category)
        if not place:
            heads = ["network", "MB", "cpu ms", *figures]
            sys.stdout.write(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n")
        cells = [path.name, f"{path.stat().st_size / 1e6:.1f}", f"{milliseconds:.1f}"]
        cells += [f"{100 * value:.1f}" for value in figures.values()]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
