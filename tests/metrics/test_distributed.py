"""One, two and three processes give the numbers of one, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from padseg.metrics import AUPIMO, ImageMetrics, PixelMetrics

WORKER = Path(__file__).with_name("gloo_worker.py")
ROOT = WORKER.parents[2]


@pytest.mark.slow
def test_number_of_processes_does_not_matter(literal, tmp_path):
    scores, masks = literal.sample(images=9, seed=20)
    torch.save((scores, masks), tmp_path / "sample.pt")
    expected = {}
    for exact in (False, True):
        pixel, image = PixelMetrics(exact=exact), ImageMetrics()
        aupimo = AUPIMO(0.01, 0.1, exact=exact)
        for metric in (pixel, aupimo) if not exact else ():
            metric.max_keys, metric.max_buffered = 300, 1000
        pixel.update(scores, masks)
        aupimo.update(scores, masks)
        image.update(scores.flatten(1).amax(1), masks.flatten(1).any(1))
        values = pixel.compute() | image.compute() | {"aupimo": aupimo.compute()}
        expected[exact] = {name: float(value) for name, value in values.items()}
        assert int(pixel.shift) == 0 if exact else int(pixel.shift) > 0

    world = 3
    command = [sys.executable, str(WORKER), str(world), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True)
    for rank in range(world):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert "Image 5, counted" in found.pop("error")
        assert {size for size, _ in found} == set(range(rank + 1, world + 1))
        for (_, exact), (values, pixel_images, image_images) in found.items():
            assert values == expected[exact]
            assert pixel_images == image_images == 9
