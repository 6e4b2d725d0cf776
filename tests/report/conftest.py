"""Folders like those that `padseg run` writes, without training."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from padseg.metrics.calibration import Calibration
from padseg.metrics.names import METRIC_KEYS


def make_run(
    out: Path,
    label: str,
    category: str,
    seed: int = 0,
    figures: dict[str, float | None] | None = None,
    images: list[tuple[str, str, int, float]] = (),
    calibration: Calibration | None = None,
    curves: dict | None = None,
    system: str = "destseg",
    side: int = 48,
    made_with: dict | None = None,
) -> Path:
    """`images`: path, defect, label, score; `made_with`: the options in the fingerprint."""
    folder = out / label.replace("/", "_") / category.replace("/", "_") / f"seed{seed}"
    folder.mkdir(parents=True)
    metrics = dict.fromkeys(METRIC_KEYS, 0.5 + 0.01 * seed) | (figures or {})
    times = {"train_minutes": 1.5, "peak_memory_mb": 100.0, "images_per_second": 9.0}
    row = {"label": label, "system": system, "category": category, "seed": seed}
    if made_with is not None:
        none = {key: {} for key in ("versions", "precision", "device")}
        hashes = dict.fromkeys(("data_sha256", "teacher_sha256"), "")
        row["fingerprint"] = {"options": made_with, **none, **hashes, "resumed_from_step": 0}
    (folder / "metrics.json").write_text(
        json.dumps(
            {**row, **metrics, **times, "calibration": calibration and calibration.to_dict()}
        )
    )
    if curves is not None:
        (folder / "curves.json").write_text(json.dumps(curves))
    if not images:
        return folder
    rng = np.random.default_rng(seed)
    for kind in ("maps", "thumbs", "masks"):
        (folder / kind).mkdir()
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "path", "defect", "label", "image_score", "anomalous"])
        for index, (path, defect, anomalous, score) in enumerate(images):
            writer.writerow([index, path, defect, anomalous, score, ""])
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"thumbs/{index:05d}.jpg")
            score_map = np.zeros((side, side), np.uint16)
            score_map[10:20, 10:20] = round(score * 65535)
            Image.fromarray(score_map).save(folder / f"maps/{index:05d}.png")
            if anomalous:
                Image.fromarray(score_map > 0).save(folder / f"masks/{index:05d}.png")
    return folder


def make_images(count: int, category: str = "bolt", seed: int = 0) -> list:
    """Overlapping scores of good images and of two kinds of defects."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(count):
        defect = ("good", "crack", "dent")[index % 3]
        label = int(defect != "good")
        score = float(np.float32(rng.beta(2 + 2 * label, 4)))
        images.append((f"{category}/test/{defect}/{index:03}.png", defect, label, score))
    return images


CURVES = {
    "pixel_roc": {"fpr": [0, 0.1, 1], "tpr": [0, 0.8, 1], "threshold": [None, 0.5, 0]},
    "pro": {"fpr": [0, 0.2, 0.6, 1], "pro": [0, 0.5, 0.9, 1], "threshold": [None, 0.5, 0.3, 0]},
    "image_roc": {"fpr": [0, 0.5, 1], "tpr": [0, 1, 1], "threshold": [None, 0.5, 0]},
}


@pytest.fixture
def two_systems(tmp_path: Path) -> Path:
    """Two systems on the same images, one of them calibrated."""
    images = make_images(24)
    other = [(path, defect, label, score * 0.5) for path, defect, label, score in images]
    calibration = Calibration(0.45, 0.5, 0.01, 0.001, 0.01, normal_images=99)
    make_run(tmp_path, "one", "bolt", images=images, calibration=calibration, curves=CURVES)
    make_run(tmp_path, "two", "bolt", images=other, curves=CURVES)
    return tmp_path
