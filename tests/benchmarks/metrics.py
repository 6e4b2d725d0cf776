"""Pixel metrics of padseg and other packages on the same maps: seconds, peak memory, values.

    python tests/benchmarks/metrics.py            # 83 maps of 256x256, the test set of MVTec AD's bottle
    python tests/benchmarks/metrics.py --large    # 40 maps of 1024x1024
    python tests/benchmarks/metrics.py --only padseg torchmetrics

prints a Markdown table. Each contestant runs in a process of its own, on `--threads` threads (2), and
is timed `--repeat` times (3), of which the fastest counts; the processor's seconds beside it tell a busy
machine from a slow metric. Memory is what the process holds at its
peak beyond what it held with the maps loaded. A peer that cannot be imported is left out; anomalib and
adeval need versions of other packages that padseg does not take, so each gets an environment of its own:

    python -m venv /tmp/anomalib
    /tmp/anomalib/bin/pip install -r tests/benchmarks/requirements-anomalib.txt
    python tests/benchmarks/metrics.py --peer-python anomalib=/tmp/anomalib/bin/python

The maps are noise of which most is near zero, with defects of a higher mean: two discs on three of four
images. Differences to expect: thresholds=200 is off where scores crowd between two thresholds; adeval
has 1000 equal bins between bounds that must be guessed (here it is told the true ones); torchmetrics
and anomalib sum in float32.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

COLUMNS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pro", "iap", "iap90")
BATCH = 8

Values = dict[str, float]


def make_maps(images: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 scores in [0, 1] and bool masks, (images, size, size)."""
    generator = np.random.default_rng(0)
    masks = np.zeros((images, size, size), dtype=bool)
    y, x = np.mgrid[:size, :size]
    for mask in masks[: images * 3 // 4]:
        for _ in range(2):
            radius = size * generator.uniform(0.02, 0.12)
            center = generator.uniform(radius, size - radius, 2)
            mask |= (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2
    scores = generator.random(masks.shape, dtype=np.float32)
    for score, mask in zip(scores, masks, strict=True):
        score[:] = 0.7 * score**8 + 0.3 * mask * generator.random(mask.shape, dtype=np.float32)
    return scores, masks


def label_each(masks: np.ndarray) -> np.ndarray:
    """Label the 8-connected regions of each mask, no number twice."""
    from scipy import ndimage

    structure = np.zeros((3, 3, 3))
    structure[1] = 1
    return ndimage.label(masks, structure)[0]


# --- contestants: each takes the maps and returns what it can measure ----------------------------


def padseg(
    scores: np.ndarray, masks: np.ndarray, exact: bool = False, given: bool = False
) -> Values:
    import torch

    from padseg.metrics import PixelMetrics

    maps, truth = torch.from_numpy(scores), torch.from_numpy(masks)
    metric = PixelMetrics(exact=exact)
    for at in range(0, len(maps), BATCH):
        metric.update(maps[at : at + BATCH], truth[at : at + BATCH])
    return {name: float(value) for name, value in metric.compute().items()}


def padseg_exact(scores: np.ndarray, masks: np.ndarray) -> Values:
    return padseg(scores, masks, exact=True)


def literal(scores: np.ndarray, masks: np.ndarray) -> Values:
    """scikit-learn, the MVTec way of PRO (one sort), and IAP instance by instance."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    flat, truth = scores.ravel(), masks.ravel()
    precision, recall, _ = precision_recall_curve(truth, flat)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    labels = label_each(masks)
    iap, iap90 = _iap(scores, masks, labels)
    return {
        "pixel_auroc": roc_auc_score(truth, flat),
        "pixel_ap": average_precision_score(truth, flat),
        "pixel_f1max": f1.max(),
        "pro": _pro(flat, truth, labels.ravel()),
        "iap": iap,
        "iap90": iap90,
    }


def torchmetrics(scores: np.ndarray, masks: np.ndarray, thresholds: int | None = None) -> Values:
    import torch
    from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

    metrics = {
        "pixel_auroc": BinaryAUROC(thresholds=thresholds),
        "pixel_ap": BinaryAveragePrecision(thresholds=thresholds),
    }
    maps, truth = torch.from_numpy(scores), torch.from_numpy(masks).int()
    for at in range(0, len(maps), BATCH):
        for metric in metrics.values():
            metric.update(maps[at : at + BATCH], truth[at : at + BATCH])
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def torchmetrics_200(scores: np.ndarray, masks: np.ndarray) -> Values:
    return torchmetrics(scores, masks, thresholds=200)


def anomalib(scores: np.ndarray, masks: np.ndarray) -> Values:
    import torch
    from anomalib.metrics import AUPR, AUPRO, AUROC, F1Max

    maps, truth = torch.from_numpy(scores), torch.from_numpy(masks).int()  # (B, H, W)
    # Without names of batch fields they are plain torchmetrics.
    metrics = {
        "pixel_auroc": AUROC.__bases__[-1](),
        "pixel_ap": AUPR.__bases__[-1](),
        "pixel_f1max": F1Max.__bases__[-1](),
        "pro": AUPRO.__bases__[-1](),
    }
    found = {}
    for name, metric in metrics.items():
        for at in range(0, len(maps), BATCH):
            metric.update(maps[at : at + BATCH], truth[at : at + BATCH])
        found[name] = float(metric.compute())
    return found


def adeval(scores: np.ndarray, masks: np.ndarray) -> Values:
    import adeval as package

    accumulator = package.EvalAccumulator(0.0, 1.0, float(scores.min()), float(scores.max()))
    for at in range(0, len(scores), BATCH):
        part = slice(at, at + BATCH)
        accumulator.add_anomap_batch(scores[part], masks[part].astype(np.uint8))
    for score, mask in zip(scores, masks, strict=True):
        accumulator.add_image(float(score.max()), bool(mask.any()))
    found = accumulator.summary()
    return {"pixel_auroc": found["p_auroc"], "pixel_ap": found["p_aupr"], "pro": found["p_aupro"]}


CONTESTANTS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], Values]]] = {
    "padseg": ("padseg", padseg),
    "padseg-exact": ("padseg, exact=True", padseg_exact),
    "literal": ("scikit-learn + MVTec-style PRO + literal IAP", literal),
    "torchmetrics": ("torchmetrics, exact", torchmetrics),
    "torchmetrics-200": ("torchmetrics, thresholds=200", torchmetrics_200),
    "anomalib": ("anomalib 2.7.0", anomalib),
    "adeval": ("adeval 1.1.0", adeval),
}


def _pro(flat: np.ndarray, truth: np.ndarray, labels: np.ndarray, limit: float = 0.3) -> float:
    order = np.argsort(-flat, kind="stable")
    size = np.bincount(labels)
    share = np.where(truth, 1 / size[labels], 0.0)[order]
    fpr = np.cumsum(~truth[order]) / (~truth).sum()
    overlap = np.cumsum(share) / (len(size) - 1)
    ends = np.append(np.flatnonzero(np.diff(flat[order])), len(flat) - 1)
    fpr, overlap = np.append(0, fpr[ends]), np.append(0, overlap[ends])
    inside = fpr < limit
    x = np.append(fpr[inside], limit)
    y = np.append(overlap[inside], np.interp(limit, fpr, overlap))
    return float(np.trapezoid(y, x) / limit)


def _iap(scores: np.ndarray, masks: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    thresholds = []
    for label in range(1, labels.max() + 1):
        values = np.sort(scores[labels == label])[::-1]
        thresholds.append(values[math.floor(0.5 * len(values))])
    best, precisions = 0.0, []
    for threshold in sorted(thresholds):
        found = scores >= threshold
        best = max(best, (found & masks).sum() / found.sum())
        precisions.append(best)
    needed = math.ceil(0.9 * len(precisions))
    return float(np.mean(precisions)), float(precisions[len(precisions) - needed])


# --- one contestant in this process ---------------------------------------------------------------


def run_one(name: str, large: bool, repeat: int) -> None:
    """Time a contestant and print the outcome as one line of JSON."""
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    scores, masks = make_maps(*((40, 1024) if large else (83, 256)))
    contestant = CONTESTANTS[name][1]
    contestant(*make_maps(2, 64))  # imports and first calls are not timed
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    times, processor = [], []
    for _ in range(repeat):
        start, busy = time.perf_counter(), time.process_time()
        values = contestant(scores, masks)
        times.append(time.perf_counter() - start)
        processor.append(time.process_time() - busy)
    print(  # noqa: T201
        json.dumps(
            {
                "seconds": min(times),
                "processor": min(processor),
                "megabytes": (_memory("VmHWM") - before) / 1024,
                "values": {key: float(value) for key, value in values.items()},
            }
        )
    )


def _memory(field: str) -> int:
    """Return a field of Linux' process status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


# --- all of them ----------------------------------------------------------------------------------


def main() -> None:
    """Run every contestant in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true", help="40 maps of 1024x1024")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600, help="seconds for one contestant")
    parser.add_argument("--peer-python", nargs="+", default=[], metavar="NAME=PATH")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.large, options.repeat)
        return
    pythons = dict(pair.split("=", 1) for pair in options.peer_python)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(options.threads),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    _line("contestant", "seconds", "CPU seconds", "peak MB", *COLUMNS)
    _line(*["---"] * (4 + len(COLUMNS)))
    for name in options.only:
        peer = name in ("anomalib", "adeval")
        if peer and name not in pythons and importlib.util.find_spec(name) is None:
            continue
        command = [pythons.get(name, sys.executable), __file__, "--one", name]
        command += ["--repeat", str(options.repeat), *(["--large"] if options.large else [])]
        title = CONTESTANTS[name][0]
        try:
            done = subprocess.run(
                command,
                check=False,
                env=environment,
                timeout=options.limit,
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            _line(title, f"> {options.limit:g}", *["-"] * (2 + len(COLUMNS)))
            continue
        if done.returncode:
            _line(title, "failed: " + done.stderr.strip().splitlines()[-1])
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        values = [found["values"].get(key) for key in COLUMNS]
        shown = ["-" if value is None else f"{value:.6f}" for value in values]
        costs = [
            f"{found['seconds']:.2f}",
            f"{found['processor']:.2f}",
            f"{found['megabytes']:.0f}",
        ]
        _line(title, *costs, *shown)


def _line(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
