"""Peak memory of a test run for several numbers of test images, each in its own process.

    python tests/benchmarks/memory.py [--images 2000 20000] [--size 32]

The images are links to a few small files; a quarter of them has a defect. The network is small and its
BatchNorm statistics are fresh, so that the scores are many different numbers, as the metrics like it least.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def make_images(root: Path, count: int, size: int) -> None:
    """A category with `count` test images."""
    rng = np.random.default_rng(0)
    source = root / "source"
    source.mkdir(parents=True)
    for index in range(24):  # the last eight to train on
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(source / f"{index}.png")
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : size // 2, size // 4 : size // 2] = 255
    Image.fromarray(mask).save(source / "mask.png")
    category = root / "widget"
    for folder in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (category / folder).mkdir(parents=True)
    for index in range(8):
        os.link(source / f"{16 + index}.png", category / f"train/good/{index}.png")
    for index in range(count):
        kind = "spot" if index % 4 == 0 else "good"
        os.link(source / f"{index % 16}.png", category / f"test/{kind}/{index:06}.png")
        if kind == "spot":
            os.link(source / "mask.png", category / f"ground_truth/spot/{index:06}_mask.png")


def test_images(root: Path, size: int) -> None:
    """Test in this process, and tell its peak memory in MiB and the seconds."""
    import torch
    from lightning import Trainer

    from padseg.callbacks import EvaluationCallback
    from padseg.data import AnomalyDataModule
    from padseg.machine.peak_memory import peak_memory_mb
    from padseg.modules import StudentDistillModule

    torch.manual_seed(0)
    network = {"teacher": "test_resnet", "weights": "random", "width": 16, "image_size": size}
    module = StudentDistillModule("stpm", **network)
    data = AnomalyDataModule(
        str(root), "widget", image_size=size, batch_size=32, num_workers=0, synthesis=None
    )
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[EvaluationCallback()],
    )
    start = time.perf_counter()
    trainer.test(module, datamodule=data, verbose=False)
    peak = peak_memory_mb(trainer.strategy.root_device)
    sys.stdout.write(f"peak {peak:.0f} {time.perf_counter() - start:.1f}\n")


def measure(count: int, size: int) -> tuple[float, float]:
    """Peak memory in MiB and seconds of a test run over `count` images."""
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), count, size)
        done = subprocess.run(
            [sys.executable, __file__, "--root", folder, "--size", str(size)],
            check=True,
            capture_output=True,
            text=True,
        )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("peak"))
    _, peak, seconds = line.split()
    return float(peak), float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.root:
        test_images(options.root, options.size)
        return
    for count in options.images:
        peak, seconds = measure(count, options.size)
        sys.stdout.write(f"{count} images: peak {peak:.0f} MiB, {seconds:.1f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
