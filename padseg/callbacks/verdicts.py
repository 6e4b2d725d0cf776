"""Thresholds for display, and the verdicts that follow from them, in words."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightning import LightningModule, Trainer

from padseg.callbacks.curves import evaluation_curves
from padseg.drawing import Banner, HeatScale, comparison, score_words
from padseg.metrics.calibration import Calibration
from padseg.metrics.curves import Curve
from padseg.metrics.score_scale import ScoreScale


class Thresholds(NamedTuple):
    """Scores above which an image or a pixel is anomalous; None if unknown.

    Attributes:
        image: Threshold of image scores.
        pixel: Threshold of score maps.
        image_scale: Normalises image scores for display; None without calibration.
        pixel_scale: Likewise for score maps.
    """

    image: float | None = None
    pixel: float | None = None
    image_scale: ScoreScale | None = None
    pixel_scale: ScoreScale | None = None

    def heat_scale(self, top: float) -> HeatScale:
        """The scale of the colours of score maps; without a threshold, it reaches to `top`."""
        if self.pixel_scale is not None:
            return HeatScale.of(self.pixel_scale)
        return HeatScale(self.pixel, top)

    def is_anomalous(self, image_score: float) -> bool:
        """The verdict on an image; every image is worth a look if there is no threshold."""
        return self.image is None or image_score > self.image


def calibrated_thresholds(pl_module: LightningModule) -> Thresholds:
    """The calibrated thresholds of the module; none if they were set for tiles."""
    calibration: Calibration | None = getattr(pl_module, "calibration", None)
    if calibration is None or calibration.tile is not None:
        return Thresholds()
    image, pixel = calibration.image_scale, calibration.pixel_scale
    return Thresholds(image.threshold, pixel.threshold, image, pixel)


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


def banner(row: "pd.Series[Any]", thresholds: Thresholds) -> Banner:
    """Verdict, score and name of an image, with a mark if the verdict is wrong."""
    score, threshold, scale = float(row["image_score"]), thresholds.image, thresholds.image_scale
    wrong = None if threshold is None else (score > threshold) != bool(row["label"])
    if threshold is not None and scale is None:
        text = comparison(score, threshold)  # that of the highest F1 is raw
    else:
        text = score_words(score, None if scale is None else scale(score))
    name = f"{row['defect']}/{Path(row['path']).name}"
    return Banner(verdict(row, threshold), wrong, f"score {text}", name)


def caption(row: "pd.Series[Any]", thresholds: Thresholds) -> str:
    """Verdict, score and name of an image in a line of text."""
    written = banner(row, thresholds)
    return f"{written.verdict}, {written.score}: {written.name}"


def verdict(row: "pd.Series[Any]", threshold: float | None) -> str:
    """The outcome for an image, in words."""
    if threshold is None:
        return "defect" if row["label"] else "normal"
    anomalous = bool(row["image_score"] > threshold)
    if row["label"]:
        return "found defect" if anomalous else "missed defect"
    return "false alarm" if anomalous else "passed normal"
