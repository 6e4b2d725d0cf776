"""Thresholds for display, and the verdicts that follow from them, in words."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightning import LightningModule, Trainer

from padseg.callbacks.curves import evaluation_curves
from padseg.metrics.calibration import Calibration
from padseg.metrics.curves import Curve


class Thresholds(NamedTuple):
    """Scores above which an image or a pixel is anomalous; None if unknown.

    Attributes:
        image: Of image scores.
        pixel: Of score maps.
    """

    image: float | None = None
    pixel: float | None = None


def calibrated_thresholds(pl_module: LightningModule) -> Thresholds:
    """The calibrated thresholds of the module; none if they were set for tiles."""
    calibration: Calibration | None = getattr(pl_module, "calibration", None)
    if calibration is None or calibration.tile is not None:
        return Thresholds()
    return Thresholds(calibration.image_threshold, calibration.pixel_threshold)


def display_thresholds(trainer: Trainer, pl_module: LightningModule, stage: str) -> Thresholds:
    """The calibrated thresholds or, for display only, those with the highest F1 in this evaluation."""
    thresholds = calibrated_thresholds(pl_module)
    if thresholds.image is not None:
        return thresholds
    curves = evaluation_curves(trainer, stage)
    return Thresholds(
        _best_f1(curves.get("image_precision_recall")),
        _best_f1(curves.get("pixel_precision_recall")),
    )


def _best_f1(curve: Curve | None) -> float | None:
    if curve is None:
        return None
    precision, recall = curve["precision"], curve["recall"]
    best = int((2 * precision * recall / (precision + recall).clamp(min=1e-12)).argmax())
    # On a curve, a score equal to the threshold counts as found; a verdict needs a higher score.
    score = np.float32(curve["threshold"][best].item())
    return float(np.nextafter(score, np.float32(-math.inf)))


def caption(row: "pd.Series[Any]", threshold: float | None) -> str:
    """Verdict, name and score of an image."""
    score = f"score {row['image_score']:.3f}"
    if threshold is not None:
        sign = ">" if row["image_score"] > threshold else "<="
        score += f" {sign} {threshold:.3f}"
    name = f"{row['defect']}/{Path(row['path']).name}"
    return f"{verdict(row, threshold)}, {score}: {name}"


def verdict(row: "pd.Series[Any]", threshold: float | None) -> str:
    """The outcome for an image, in words."""
    if threshold is None:
        return "defect" if row["label"] else "normal"
    anomalous = bool(row["image_score"] > threshold)
    if row["label"]:
        return "found defect" if anomalous else "missed defect"
    return "false alarm" if anomalous else "passed normal"
