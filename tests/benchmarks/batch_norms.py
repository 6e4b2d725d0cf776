"""Whether a trained student behaves differently in training and evaluation mode.

    python tests/benchmarks/batch_norms.py distill.ckpt [...] --root mvtec_ad --category bottle --textures dtd/images

prints, for each checkpoint, the mean cosine distance between teacher and student on eight normal test images,
level by level: in evaluation, and with each batch's own statistics in the BatchNorms, as in training. Then
the BatchNorms whose running variances are furthest from fresh ones over 64 corrupted images of the training
stream, in batches of 8: the factor is the median over the channels. Of AFF, how far its gates have opened: the
mean size of the last BatchNorms' weights, zero at the start, in the first and in the last block of the encoder.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from padseg.data import AnomalyDataModule
from padseg.data.images import read_image
from padseg.data.layouts import list_samples
from padseg.data.pairs import to_unit
from padseg.losses import cosine_distance
from padseg.models.aff import AFF
from padseg.modules import AnomalyModule
from padseg.modules.loading import load_module


def distances(module: AnomalyModule, images: Tensor) -> list[float]:
    """Mean distance of each level."""
    with torch.no_grad():
        pairs = module.student_teacher(images)
    levels = [both for pair in pairs for both in zip(pair.teacher, pair.student, strict=True)]
    return [float(cosine_distance(*both).mean()) for both in levels]


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
    gates = [
        _opened(part)
        for part in module.student_teacher.student.encoder.modules()
        if isinstance(part, AFF)
    ]
    opened = [f"gates {gates[0]:.3f}, {gates[-1]:.3f}"] if gates else []
    return [*told, *(f"{name}: factor {off[name]:.1f}" for name in worst), *opened]


def _opened(fusion: AFF) -> float:
    weights = torch.stack([fusion.local[-1].weight, fusion.globe[-1].weight])
    return float(weights.detach().abs().mean())


def _three(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def main() -> None:
    """Print a block a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--textures", required=True)
    options = parser.parse_args()
    good = [
        sample.path
        for sample in list_samples(options.root, options.category)
        if (sample.defect, sample.split) == ("good", "test")
    ]
    for path in options.checkpoints:
        module = load_module(path)
        size = (module.image_size[0], module.image_size[1])
        data = AnomalyDataModule(str(options.root), options.category, options.textures, size)
        train = data.pairs(start=0, n=64)["corrupted"]
        test = to_unit(torch.from_numpy(np.stack([read_image(path, size) for path in good[:8]])))
        sys.stdout.write("\n  ".join([str(path), *compare(module, train, test)]) + "\n")


if __name__ == "__main__":
    main()
