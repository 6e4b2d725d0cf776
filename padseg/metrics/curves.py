"""The curves behind the metrics, for plots."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from padseg.metrics.functional import (
    Floats,
    Indices,
    Ranking,
    from_origin,
    instance_precision,
    precision,
)

Curve = dict[str, Tensor]
"""From the name of an axis, or `threshold`, to the values of all points, float64 (n,) on the CPU."""

CURVE_POINTS = 1000
"""Largest number of points of a curve; a plot cannot show more."""


@dataclass(frozen=True)
class CurveAxes:
    """How a curve is drawn.

    Attributes:
        title: Title of the plot.
        x: Name of the horizontal axis in the curve.
        y: Name of the vertical axis, which ends at 1.
        x_limit: Where the horizontal axis ends.
    """

    title: str
    x: str
    y: str
    x_limit: float = 1.0


CURVES = {
    "image_precision_recall": CurveAxes("Image precision and recall", "recall", "precision"),
    "image_roc": CurveAxes("Image ROC", "fpr", "tpr"),
    "pixel_precision_recall": CurveAxes("Pixel precision and recall", "recall", "precision"),
    "pixel_roc": CurveAxes("Pixel ROC", "fpr", "tpr"),
    "pro": CurveAxes("Per-region overlap (PRO)", "fpr", "pro", x_limit=0.3),
    "iap": CurveAxes("Instance recall and precision (IAP)", "recall", "precision"),
}
"""The curves of an evaluation, in the order in which they are shown."""

AXIS_TITLES = {
    "fpr": "false-positive rate",
    "tpr": "true-positive rate",
    "pro": "mean overlap",
    "recall": "recall",
    "precision": "precision",
}


def make_curves(ranking: Ranking) -> dict[str, Curve]:
    """Make the curves behind the metrics, for plots.

    Returns:
        Float64 tensors on the CPU, at most `CURVE_POINTS` + 1 points each, every point exact.
        `precision_recall`: recall, precision, threshold. `roc`: fpr, tpr, threshold. `pro`: fpr, pro,
        threshold, up to a rate of 1. `iap`: recall (of instances), precision, threshold. Thresholds
        descend; the first of `roc` and `pro` is infinite. Undefined curves are left out.
    """
    at = _few_points(ranking)
    positives, negatives = ranking.positives, ranking.negatives
    threshold = ranking.threshold[at]
    curves: dict[str, dict[str, Floats]] = {}
    if positives:
        curves["precision_recall"] = {
            "recall": ranking.tp[at] / positives,
            "precision": precision(ranking, at),
            "threshold": threshold,
        }
    if positives and negatives:
        ends = {
            "fpr": from_origin(ranking.fp[at] / negatives),
            "threshold": np.concatenate([[math.inf], threshold]),
        }
        curves["roc"] = ends | {"tpr": from_origin(ranking.tp[at] / positives)}
        curves["pro"] = ends | {"pro": from_origin(ranking.covered[at])}
    count = len(ranking.at_instances)
    if count:
        some = np.unique(np.linspace(0, count - 1, min(count, CURVE_POINTS)).astype(np.int64))[::-1]
        curves["iap"] = {
            "recall": 1 - some / count,
            "precision": instance_precision(ranking)[some],
            "threshold": ranking.threshold[ranking.at_instances[some]],
        }
    return {
        curve: {name: torch.from_numpy(column.copy()) for name, column in columns.items()}
        for curve, columns in curves.items()
    }


def _few_points(ranking: Ranking) -> Indices:
    """Choose thresholds for plots: the first, the last, and points spread evenly along every curve."""
    count = len(ranking.threshold)
    if count <= CURVE_POINTS:
        return np.arange(count)
    share = CURVE_POINTS // 4
    chosen = [
        np.searchsorted(column, np.linspace(column[0], column[-1], share)).clip(max=count - 1)
        for column in (ranking.tp, ranking.fp, ranking.covered)
    ]
    # The highest scores, where precision changes fastest.
    chosen.append(np.geomspace(1, count, CURVE_POINTS - 3 * share).astype(np.int64) - 1)
    return np.unique(np.concatenate(chosen))
