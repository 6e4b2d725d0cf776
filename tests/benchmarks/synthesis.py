"""What a training sample costs with each kind of defect, without decoding, which is done once.

    python tests/benchmarks/synthesis.py [--image-size 256] [--batch-size 32] [--rounds 5] [--parts]
        [--root mvtec_ad --category bottle --textures dtd/images]

Milliseconds of processor time of one thread for one sample: the draws and pictures, which data workers make;
collating them; and painting on the CPU. Back-ends take turns, so that a busy machine slows them alike; the best
round counts. With --parts, every shape and fill of the mixture is timed alone. Without --root the pictures are
generated, and not rotated.
"""

import argparse
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import default_collate

from padseg.data import AnomalyDataModule
from padseg.data.datasets import TrainDataset
from padseg.data.pairs import DefectSource, paint_pairs
from padseg.synthesis import Mixture, SynthesisParams
from padseg.synthesis.params import PERLIN
from padseg.synthesis.shapes import SHAPES

BACKENDS = ("perlin", "mixed", "noise")
COLUMNS = ("drawn", "collated", "painted")


def make_dataset(options: argparse.Namespace) -> TrainDataset:
    """Of a category, or of smooth generated pictures with some noise."""
    size = options.image_size
    if options.root is not None:
        data = AnomalyDataModule(
            str(options.root), options.category, str(options.textures), image_size=size
        )
        data.setup("fit")
        assert data._train is not None
        return data._train
    rng = np.random.default_rng(0)

    def picture() -> np.ndarray:
        coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        return np.clip(smooth + rng.integers(-4, 5, smooth.shape), 0, 255).astype(np.uint8)

    textures = [picture() for _ in range(16)]
    defects = DefectSource(textures, SynthesisParams(), None)
    return TrainDataset([picture() for _ in range(16)], None, defects, seed=0)


def with_defects(dataset: TrainDataset, params: SynthesisParams) -> TrainDataset:
    """The same images with other defects."""
    assert dataset.defects is not None
    defects = replace(dataset.defects, params=params)
    return TrainDataset(
        dataset.images, dataset.augmentation, defects, dataset.seed, dataset.foreground
    )


def milliseconds(dataset: TrainDataset, first: int, count: int) -> list[float]:
    """Of one sample: drawn, collated, painted."""
    assert dataset.defects is not None
    times = [time.process_time()]
    samples = [dataset[n] for n in range(first, first + count)]
    times.append(time.process_time())
    batch = default_collate(samples)
    times.append(time.process_time())
    paint_pairs(batch, dataset.defects.params)
    times.append(time.process_time())
    return [1e3 * (end - begin) / count for begin, end in pairwise(times)]


def chosen(options: argparse.Namespace) -> dict[str, SynthesisParams]:
    """What to time, by name."""
    found = {name: SynthesisParams(backend=name) for name in BACKENDS}
    if not options.parts:
        return found
    del found["noise"]
    for shape in (PERLIN, *SHAPES):
        alone = Mixture(shapes={shape: 1}, fills={"texture": 1})
        found[f"{shape}, texture"] = SynthesisParams(backend="mixed", mixture=alone)
    for fill in Mixture().fills:
        alone = Mixture(shapes={"blob": 1}, fills={fill: 1})
        found[f"blob, {fill}"] = SynthesisParams(backend="mixed", mixture=alone)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--image-size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", action="store_true", help="every shape and fill alone")
    parser.add_argument("--root", type=Path, help="folder of the data set (default: generated)")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--textures", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    dataset = make_dataset(options)
    sets = {name: with_defects(dataset, params) for name, params in chosen(options).items()}
    best = {name: [float("inf")] * len(COLUMNS) for name in sets}
    for _ in range(options.rounds):
        for name, one in sets.items():
            taken = milliseconds(one, 0, options.batch_size)
            best[name] = [min(pair) for pair in zip(best[name], taken, strict=True)]
    table = Table("ms a sample", *COLUMNS, "sum", box=None)
    for name, times in best.items():
        table.add_row(name, *(f"{value:.2f}" for value in (*times, sum(times))))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
