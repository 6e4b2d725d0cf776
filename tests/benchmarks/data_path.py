"""Images a second that one core prepares for training; painting the defects, which the device does, is left out.

    python tests/benchmarks/data_path.py [--rotate none slight full] [--backend perlin mixed] [--jitter]
        [--image-size 256] [--batch-size 32] [--rounds 5] [--root mvtec_ad --category bottle --textures dtd/images]
    python tests/benchmarks/data_path.py --start [--ranks 2] [--images 100] [--number-of-textures 400] ...

The work of the training's own DataLoader, from decoded images to batches: reading the image and its texture,
rotating, drawing the defect, collating. It is done once in this process, and once in a worker process, whose
batches are passed on in shared memory. Rates are per second of processor time of both processes together, so
that a busy machine changes them little; the best round counts. Without --root the pictures are generated, 900x900 PNG
and 640x480 JPEG as in MVTec AD and DTD.

With --start, it measures instead what decoded images cost that processes share, beside those that each process
decodes for itself (--data.cache_limit_mb 0): the start of a training, that of the next one on the same files, that
of several processes together, and the memory of these once each has read all images (proportional set size).
"""

import argparse
import os
import subprocess
import sys
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
DIFFERENT = 16  # generated pictures
GOOD, TEXTURES = "bottle/train/good", "textures/kind"


def picture(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """A picture that is about as hard to decode as a real one."""
    coarse = rng.integers(0, 256, (height // 30, width // 30, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-4, 5, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def make_pictures(root: Path, images: int, textures: int) -> None:
    """Pictures as large as the real ones; some have several names."""
    rng = np.random.default_rng(0)
    for folder in (GOOD, "bottle/test/good", TEXTURES):
        (root / folder).mkdir(parents=True)
    for index in range(DIFFERENT):
        picture(rng, 900, 900).save(root / GOOD / f"{index:04}.png", compress_level=1)
        picture(rng, 480, 640).save(root / TEXTURES / f"{index:04}.jpg")
    for suffix, folder, count in (("png", GOOD, images), ("jpg", TEXTURES, textures)):
        for index in range(DIFFERENT, count):
            first = root / folder / f"{index % DIFFERENT:04}.{suffix}"
            (root / folder / f"{index:04}.{suffix}").hardlink_to(first)


def make_data(options: argparse.Namespace, rotate: str, backend: str) -> AnomalyDataModule:
    return AnomalyDataModule(
        str(options.root),
        options.category,
        str(options.textures),
        image_size=options.image_size,
        batch_size=options.batch_size,
        augmentation=rotate,
        jitter_textures=options.jitter,
        synthesis=SynthesisParams(backend=backend),
        cache_limit_mb=options.limit,
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


def start(options: argparse.Namespace) -> None:
    """Set up the data as each process of a training does, read everything, and print what it took."""
    data = make_data(options, "none", "perlin")
    wall, processor = time.perf_counter(), time.process_time()
    data.setup("fit")
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    assert data._train is not None
    assert data._train.defects is not None
    for pictures in (data._train.images, data._train.defects.textures):
        for index in range(len(pictures)):
            pictures[index]
    sys.stdout.write(f"{wall} {processor}\n")
    sys.stdout.flush()
    sys.stdin.readline()  # until the others have read everything
    rollup = Path("/proc/self/smaps_rollup").read_text()
    sys.stdout.write(next(line.split()[1] for line in rollup.splitlines() if "Pss:" in line))
    sys.stdout.flush()
    sys.stdin.readline()


def starts(options: argparse.Namespace, limit: float, ranks: int) -> tuple[float, float, float]:
    """Longest time in s, processor time in s and memory in MiB of processes that start together."""
    command = [sys.executable, __file__, "--child", "--limit", str(limit)]
    command += ["--root", str(options.root), "--category", options.category]
    command += ["--textures", str(options.textures), "--image-size", str(options.image_size)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(ranks)]
    figures = [[float(value) for value in each.stdout.readline().split()] for each in processes]
    for each in processes:
        each.stdin.write("\n")
        each.stdin.flush()
    memory = [float(each.communicate("\n")[0]) for each in processes]
    return max(wall for wall, _ in figures), sum(cpu for _, cpu in figures), sum(memory) / 1024


def compare_starts(options: argparse.Namespace, folder: Path) -> Table:
    columns = ("s", "CPU s", "MiB")
    table = Table(
        "", *(f"{way}, {name}" for way in ("alone", "shared") for name in columns), box=None
    )
    rows: dict[str, list[str]] = {}
    for way, limit in (("alone", 0.0), ("shared", 4096.0)):
        for name, ranks, fresh in (
            ("first", 1, True),
            ("next", 1, False),
            ("ranks", options.ranks, True),
        ):
            if fresh:  # with no files in it
                os.environ["TMPDIR"] = tempfile.mkdtemp(prefix=way, dir=folder)
            wall, processor, memory = starts(options, limit, ranks)
            rows.setdefault(name, []).extend([f"{wall:.2f}", f"{processor:.2f}", f"{memory:.0f}"])
    for name, row in rows.items():
        table.add_row(f"{options.ranks} together" if name == "ranks" else name, *row)
    return table


def compare_rates(options: argparse.Namespace) -> Table:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    table = Table("rotation", "defects", "images/s", "with a worker", box=None)
    for (rotate, backend), rates in measure(options):
        table.add_row(rotate, backend, *(f"{value:.0f}" for value in rates))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rotate", nargs="+", default=ROTATIONS, help="of normal images")
    parser.add_argument("--backend", nargs="+", default=BACKENDS, help="of the defects")
    parser.add_argument("--jitter", action="store_true", help="change the textures' colours")
    parser.add_argument("--start", action="store_true", help="measure the start instead")
    parser.add_argument("--ranks", type=int, default=2, help="processes that start together")
    parser.add_argument("--images", type=int, default=100, help="generated with --start")
    parser.add_argument("--number-of-textures", type=int, default=400, help="likewise")
    parser.add_argument("--image-size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--root", type=Path, help="folder of the data set (default: generated)")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--textures", type=Path)
    parser.add_argument("--limit", type=float, default=4096.0, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        start(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.root is None:
            options.root = Path(folder) / "data"
            options.textures = options.root / "textures"
            many = (options.images, options.number_of_textures) if options.start else (0, 0)
            make_pictures(options.root, *many)
        Console(width=100).print(
            compare_starts(options, Path(folder)) if options.start else compare_rates(options)
        )


if __name__ == "__main__":
    main()
