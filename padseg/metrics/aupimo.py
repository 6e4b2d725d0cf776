"""AUPIMO: how much of each defect is found while next to nothing is marked in normal images."""

import math
from typing import Any

import torch
from torch import Tensor

from padseg.metrics import checks, functional
from padseg.metrics.base import as_scalar
from padseg.metrics.checks import ArrayLike
from padseg.metrics.curves import make_curves
from padseg.metrics.maps import MapMetric

_LEFT_OUT = -1


class AUPIMO(MapMetric):
    """Mean area under the per-image overlap curve at very low false positive rates.

    The overlap of a defective image is the share of its defect pixels that is found. The false positive
    rate is that of the normal images alone, whatever happens around the defects of the others. The area
    is taken over the logarithm of the rate, between the bounds, and averaged over defective images
    (Bertoldo et al., "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low
    Tolerance", BMVC 2024). The mean of the areas is the area under the mean of the curves, so it comes from the
    same bounded state as `PixelMetrics`, and is identical for any batches, order and number of processes.

    Images weigh by their number of pixels in the rate, which equals the paper's mean over images if all
    have the same size. The curve has one point per distinct score and is linear between them; below the
    first false positive it is constant.

    Args:
        lower: Lower bound of the false positive rate, (0, upper).
        upper: Upper bound, (lower, 1].
        exact: Keep every pixel on the CPU (8 bytes each) and never drop bits.
        **kwargs: For torchmetrics' `Metric`.

    Raises:
        MetricInputError: A ValueError, for bounds outside their range.
    """

    def __init__(
        self, lower: float = 1e-5, upper: float = 1e-4, exact: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(exact=exact, **kwargs)
        if not 0 < lower < upper <= 1:
            raise checks.MetricInputError(
                f"the bounds must fulfil 0 < lower < upper <= 1, got {lower} and {upper}."
            )
        self._defective: Tensor | None = None
        self.lower = lower
        self.upper = upper
        # Unlike the state of the same name in `PixelMetrics`, so that a `MetricCollection` shares nothing.
        self.add_state("kind", torch.tensor([float(exact)]), "max")

    def update(
        self,
        score_map: ArrayLike,
        mask: ArrayLike,
        regions: ArrayLike | None = None,
        defective: ArrayLike | None = None,
    ) -> None:
        """Count a batch, see `MapMetric.update`.

        Args:
            score_map: As there.
            mask: As there.
            regions: As there; they change nothing, since an image counts as one region.
            defective: Bool (B,), on the same device: which images have a defect, also if their mask has vanished at
                this size. Those are left out, since they are neither normal nor show how much is found. None if
                every image without a defect in its mask is normal.

        Raises:
            MetricInputError: A ValueError, as there.
        """
        if defective is not None:
            defective = checks.as_tensor("defective", defective, self.device)
            if defective.dtype != torch.bool or defective.shape != (len(score_map),):
                raise checks.MetricInputError(
                    f"defective must be bool, one for each image, got {checks.describe(defective)}."
                )
        self._defective = defective
        super().update(score_map, mask, regions)

    def _regions(self, defect: Tensor, labels: Tensor | None) -> Tensor:
        """One region for each defective image, whose other pixels are left out."""
        defective = defect.flatten(1).any(dim=1)
        if self._defective is not None:
            defective = defective | self._defective
        return defect.int() + (defective[:, None, None] & ~defect).int() * _LEFT_OUT

    def compute(self) -> Tensor:
        """Return the mean over defective images of all processes since the last reset.

        Returns:
            Float64 scalar on the metric's device, [0, 1]; nan without defective images, or if the normal
            images have fewer than 1 / `lower` pixels, which cannot show such a rate.

        Raises:
            MetricInputError: A ValueError, before the first update, or for bad values in an update.
        """
        self.check_values()
        ranking = functional.rank(self._all_counts())
        self._curves = make_curves(ranking)
        value = math.nan
        if ranking.negatives * self.lower >= 1 - 1e-9:  # 49 * (1 / 49) is below 1
            value = functional.aupimo(ranking, self.lower, self.upper)
        return as_scalar(value, self.device)
