"""Metrics of image scores: AUROC, AP and F1max."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from padseg.metrics import checks, functional
from padseg.metrics.base import RankingMetric, as_tensors
from padseg.metrics.checks import ArrayLike
from padseg.metrics.curves import make_curves
from padseg.metrics.score_counts import count_scores, score_keys

_CURVES = ("precision_recall", "roc")  # the others need regions


class ImageMetrics(RankingMetric):
    """Image AUROC, AP and F1max of image scores against labels.

    The values are exact, take 5 bytes per image and are, like those of `PixelMetrics`, identical bit for
    bit for any batch size, order and number of processes. torchmetrics' binary curves have the same
    definitions but sum in float32, in the order of the images. Scores can be any finite numbers. A
    metric that is undefined (only one class) is nan, with one warning.

    Args:
        **kwargs: For torchmetrics' `Metric`.
    """

    level = "image"
    reasons = (
        "has a score that is NaN, infinite or too large for float32",
        "has a label other than 0 and 1",
    )
    full_state_update = True  # otherwise `forward` would lose the counts when it rejects a batch

    keys: list[Tensor]
    labels: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("keys", [], "cat")
        self.add_state("labels", [], "cat")

    def update(self, image_score: ArrayLike, label: ArrayLike) -> None:
        """Add a batch of tensors or NumPy arrays.

        Args:
            image_score: Floating (B,), any finite values, on the metric's device.
            label: Bool, integer or floating (B,), same device, 1 for defective, 0 for good.

        Raises:
            MetricInputError: A ValueError, for wrong shapes, dtypes or devices. For NaN, infinite scores
                and labels that are not 0 or 1: here on the CPU, in `compute` elsewhere.
        """
        image_score = checks.as_tensor("image_score", image_score, self.device)
        label = checks.as_tensor("label", label, self.device)
        checks.check_scores("image_score", image_score, self.device)
        checks.check_companion("label", label, "image_score", image_score)
        if image_score.ndim != 1:
            raise checks.MetricInputError(
                f"image_score must have the shape (B,), got {checks.describe(image_score)}."
            )
        checks.check_same_shape("label", label, "image_score", image_score)
        label = checks.comparable(label)
        score, defective = image_score.detach().float(), label != 0
        self._count_images(len(score), (~score.isfinite(), label != defective))
        self.keys.append(score_keys(score))
        self.labels.append(defective)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics of all images since the last reset, over all processes.

        Returns:
            Float64 scalars on the metric's device, [0, 1] or nan: `image_auroc`, `image_ap`,
            `image_f1max`.

        Raises:
            MetricInputError: A ValueError, before the first update, or for bad values in an update.
        """
        self.check_values()
        keys, labels = dim_zero_cat(self.keys).cpu(), dim_zero_cat(self.labels).cpu()
        ranking = functional.rank(count_scores(keys, labels))
        curves = make_curves(ranking)
        self._curves = {name: curves[name] for name in _CURVES if name in curves}
        values = {
            "image_auroc": functional.auroc(ranking),
            "image_ap": functional.average_precision(ranking),
            "image_f1max": functional.f1_max(ranking),
        }
        return as_tensors(values, "image", ranking, self.device)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Synchronise processes as torchmetrics does, with lists that are never empty.

        A process with an empty list would send a tensor of another dtype than the others.
        """
        if not self._is_synced and not self.keys:
            self.keys.append(torch.empty(0, dtype=torch.int32, device=self.device))
            self.labels.append(torch.empty(0, dtype=torch.bool, device=self.device))
        super().sync(*args, **kwargs)
