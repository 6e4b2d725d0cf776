"""Ranking metrics of anomaly maps and images, from counts of their scores.

Every function takes a `Ranking`, the counts above each distinct score. Nothing here depends on how the
scores were collected. Counts at full resolution give exact values.

Sources: PRO with its limit on the false positive rate from Bergmann et al., "The MVTec Anomaly Detection
Dataset", IJCV 2021, section 5.2; instance average precision (IAP, IAP@k) from Zhang et al., "DeSTSeg",
CVPR 2023, section 4.1; AUPIMO from Bertoldo et al., BMVC 2024.

Sums are computed by NumPy, because torch's depend on the number of threads.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from padseg.metrics.score_counts import ScoreCounts, drop_bits, key_scores

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """What lies at or above each distinct score, from the highest score to the lowest.

    Attributes:
        threshold: Float64 (K,), the distinct scores, descending.
        tp: Float64 (K,), defect pixels with a score >= threshold.
        fp: Float64 (K,), normal pixels with a score >= threshold.
        covered: Float64 (K,), mean share of a region with a score >= threshold; [0, 1].
        at_instances: Int64 (n,), index of the threshold at which each instance is found, descending,
            that is from the lowest threshold to the highest.
    """

    threshold: Floats
    tp: Floats
    fp: Floats
    covered: Floats
    at_instances: Indices

    @property
    def positives(self) -> float:
        """Number of defect pixels."""
        return float(self.tp[-1]) if len(self.tp) else 0.0

    @property
    def negatives(self) -> float:
        """Number of normal pixels."""
        return float(self.fp[-1]) if len(self.fp) else 0.0


def label_regions(mask: Tensor) -> Tensor:
    """Number the 8-connected regions of masks.

    Args:
        mask: Bool (B, H, W), any device; the masks are copied to the host.

    Returns:
        Int32 (B, H, W) on the device of `mask`: 0 for background, and unique numbers from 1 for the
        regions of the batch.
    """
    within_image = np.zeros((3, 3, 3), dtype=bool)
    within_image[1] = True
    labels = np.zeros(mask.shape, dtype=np.int32)
    on_host = mask.detach().cpu().numpy()
    defective = on_host.any(axis=(1, 2))
    if defective.any():
        labels[defective] = ndimage.label(on_host[defective], structure=within_image)[0]
    return torch.from_numpy(labels).to(mask.device)


def rank(counts: ScoreCounts, instance_keys: Tensor | None = None) -> Ranking:
    """Cumulate counts from the highest score to the lowest.

    Args:
        counts: On any device.
        instance_keys: Int32 (n,), the key at which each defect instance is found, full resolution.
    """
    keys = counts.keys.cpu()
    total = counts.total.cpu().numpy()
    at_defects = np.searchsorted(keys.numpy(), counts.defect_keys.cpu().numpy())
    defect, weight = np.zeros_like(total), np.zeros_like(total)
    defect[at_defects] = counts.defect.cpu().numpy()
    weight[at_defects] = counts.weight.cpu().numpy()
    tp, fp, weight_above = (
        np.cumsum(column[::-1]).astype(np.float64) for column in (defect, total - defect, weight)
    )
    at_instances = np.empty(0, dtype=np.int64)
    if instance_keys is not None and len(instance_keys):
        # Order statistics commute with dropping bits, so the key is among those counted.
        ordered = drop_bits(instance_keys.cpu(), counts.shift).numpy()
        at_instances = len(keys) - 1 - np.searchsorted(keys.numpy(), np.sort(ordered))
    regions = max(weight_above[-1], 1.0) if len(keys) else 1.0
    threshold = key_scores(keys).numpy()[::-1].astype(np.float64)
    return Ranking(threshold, tp, fp, weight_above / regions, at_instances)


def auroc(ranking: Ranking) -> float:
    """Area under the ROC curve, ties counted half; nan without positives or without negatives."""
    if not ranking.positives or not ranking.negatives:
        return math.nan
    fpr, tpr = from_origin(ranking.fp), from_origin(ranking.tp)
    return float(np.trapezoid(tpr, fpr)) / (ranking.positives * ranking.negatives)


def average_precision(ranking: Ranking) -> float:
    """Step-wise sum of precision over the gains in recall; nan without positives."""
    if not ranking.positives:
        return math.nan
    gain = np.diff(ranking.tp, prepend=0.0)
    return float(np.sum(gain * precision(ranking))) / ranking.positives


def f1_max(ranking: Ranking) -> float:
    """Highest F1 of any threshold; nan without positives."""
    if not ranking.positives:
        return math.nan
    return float(np.max(2 * ranking.tp / (ranking.positives + ranking.tp + ranking.fp)))


def pro(ranking: Ranking, fpr_limit: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a false positive rate, divided by that rate.

    The false positive rate counts all normal pixels, including those of images without defects. The
    curve has one point per distinct score, starts at (0, 0) and is interpolated linearly at the limit.

    Args:
        ranking: Made with region weights.
        fpr_limit: Upper end of the false positive rate, (0, 1].

    Returns:
        [0, 1]; nan without defect pixels or without normal pixels.
    """
    if not ranking.positives or not ranking.negatives:
        return math.nan
    fpr = from_origin(ranking.fp) / ranking.negatives
    covered = from_origin(ranking.covered)
    inside = int(np.searchsorted(fpr, fpr_limit, side="right"))
    x, y = fpr[:inside], covered[:inside]
    if inside < len(fpr) and x[-1] < fpr_limit:
        slope = (covered[inside] - y[-1]) / (fpr[inside] - x[-1])
        y = np.append(y, y[-1] + slope * (fpr_limit - x[-1]))
        x = np.append(x, fpr_limit)
    return float(np.trapezoid(y, x)) / fpr_limit


def aupimo(ranking: Ranking, lower: float, upper: float) -> float:
    """Mean overlap between two false positive rates, over the logarithm of the rate.

    Args:
        ranking: Made of the pixels of normal images and, each as one region, the defects of the others.
        lower: Lower bound of the rate, (0, upper).
        upper: Upper bound, (lower, 1].

    Returns:
        [0, 1]; nan without defect pixels or without normal pixels.
    """
    if not ranking.positives or not ranking.negatives:
        return math.nan
    # Of the thresholds without a false positive, the lowest has the best overlap, and stands for all
    # rates below the first false positive.
    first = int(np.searchsorted(ranking.fp, 0, side="right"))
    best = ranking.covered[first - 1] if first else 0.0
    low, high = math.log(lower), math.log(upper)
    x = np.log(ranking.fp[first:] / ranking.negatives)
    x = np.concatenate([[min(low, x[0]) - 1, x[0]], x])
    y = np.concatenate([[best, best], ranking.covered[first:]])
    start, end = np.searchsorted(x, low, side="right"), np.searchsorted(x, high, side="left")
    ends = [
        y[at - 1] + (y[at] - y[at - 1]) * (limit - x[at - 1]) / (x[at] - x[at - 1])
        for at, limit in ((start, low), (end, high))
    ]
    inside = slice(start, end)
    area = np.trapezoid(
        np.concatenate([ends[:1], y[inside], ends[1:]]),
        np.concatenate([[low], x[inside], [high]]),
    )
    return float(area) / (high - low)


def iap(ranking: Ranking) -> float:
    """Instance average precision: mean over instances of the pixel precision; nan without any.

    The precision of an instance is the best at its own threshold or any lower one.
    """
    if not len(ranking.at_instances):
        return math.nan
    return float(np.mean(instance_precision(ranking)))


def iap_at(ranking: Ranking, recall: float = 0.9) -> float:
    """Pixel precision at the first recall of instances that reaches `recall`, (0, 1]; nan without any."""
    count = len(ranking.at_instances)
    if not count:
        return math.nan
    # The small term prevents 0.7 * 10 = 7.000...001 from requiring 8 instances.
    needed = max(1, math.ceil(recall * count - 1e-9))
    return float(instance_precision(ranking)[count - needed])


def precision(ranking: Ranking, at: Indices | slice = slice(None)) -> Floats:
    """Precision at each threshold, or at those with the indices `at`."""
    tp = ranking.tp[at]
    return tp / (tp + ranking.fp[at])


def instance_precision(ranking: Ranking) -> Floats:
    """Precision at each instance's threshold, ascending, made monotone from low to high."""
    return np.maximum.accumulate(precision(ranking, ranking.at_instances))


def from_origin(values: Floats) -> Floats:
    """Values with a 0 in front."""
    return np.concatenate([[0.0], values])
