"""Do the answers of a trained student differ between training and evaluation?

    python tests/benchmarks/batch_norms.py distill.ckpt [...] --root mvtec_ad --category bottle

prints, for each checkpoint, the mean cosine distance between teacher and student on eight normal test images,
level by level: in evaluation, and with each batch's own statistics in the BatchNorms, as in training. Then
the BatchNorms whose running variances are furthest from fresh ones over 64 training images, in batches of 8:
the factor is the median over the channels.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from padseg.data.datasets import to_unit
from padseg.data.images import read_image
from padseg.data.layouts import list_samples
from padseg.inference.weights import load_module
from padseg.losses import cosine_distance
from padseg.modules import AnomalyModule


def distances(module: AnomalyModule, images: Tensor) -> list[float]:
    """Mean distance of each level."""
    with torch.no_grad():
        pairs = module.student_teacher(images)
    return [
        float(cosine_distance(t, s).mean()) for pair in pairs for t, s in zip(*pair, strict=True)
    ]


def compare(module: AnomalyModule, train: Tensor, test: Tensor) -> list[str]:
    """The lines to print."""
    told = [f"evaluation {_three(distances(module, test))}"]
    norms = {
        name: part
        for name, part in module.student_teacher.student.named_modules()
        if isinstance(part, nn.BatchNorm2d)
    }
    running = {name: norm.running_var.clone() for name, norm in norms.items()}
    for norm in norms.values():
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    told.append(f"batch's own {_three(distances(module, test))}")
    for norm in norms.values():
        norm.reset_running_stats()
    for images in train.split(8):
        distances(module, images)
    off = {
        name: float((norm.running_var / running[name]).log().abs().median().exp())
        for name, norm in norms.items()
    }
    worst = sorted(off, key=lambda name: -off[name])[:3]
    return [*told, *(f"{name}: factor {off[name]:.1f}" for name in worst)]


def _three(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def main() -> None:
    """Print a block a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--category", required=True)
    options = parser.parse_args()
    samples = [s for s in list_samples(options.root, options.category) if s.defect == "good"]
    for path in options.checkpoints:
        module = load_module(path)
        size = (module.image_size[0], module.image_size[1])
        parts = [
            np.stack([read_image(s.path, size) for s in samples if s.split == split][:count])
            for split, count in (("train", 64), ("test", 8))
        ]
        train, test = (to_unit(torch.from_numpy(part)) for part in parts)
        sys.stdout.write("\n  ".join([str(path), *compare(module, train, test)]) + "\n")


if __name__ == "__main__":
    main()
