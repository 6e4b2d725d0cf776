"""sPRO, the metric of MVTec LOCO AD."""

from typing import Any

import torch
from torch import Tensor

from padseg.metrics import checks, functional
from padseg.metrics.base import as_scalar
from padseg.metrics.checks import ArrayLike
from padseg.metrics.curves import make_curves
from padseg.metrics.maps import MapMetric
from padseg.metrics.saturation import count_saturated
from padseg.metrics.score_counts import merge_counts, score_keys


class SPRO(MapMetric):
    """Area under the saturated per-region overlap curve up to a false positive rate, divided by that rate.

    Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and
    Localization", IJCV 2022, section 4.2. Where something is missing, any place may be marked where it
    could be, so that a defect counts as found once a given area of it is. With the whole area, sPRO is PRO with
    each defect as one region, also if it consists of several parts or overlaps another one.

    The state is that of `MapMetric`, and so is what it says about exactness.

    Args:
        fpr_limit: Upper end of the false positive rate, (0, 1]; 0.05 in the paper's tables.
        exact: Keep every distinct score and never drop bits.
        **kwargs: For torchmetrics' `Metric`.

    Raises:
        MetricInputError: A ValueError, for a limit outside its range.
    """

    def __init__(self, fpr_limit: float = 0.05, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact=exact, **kwargs)
        if not 0 < fpr_limit <= 1:
            raise checks.MetricInputError(f"fpr_limit must lie in (0, 1], got {fpr_limit}.")
        self.fpr_limit = fpr_limit
        # Unlike the state of the same name in others, so that a `MetricCollection` shares nothing.
        self.add_state("kind", torch.tensor([float(exact)]), "max")

    def update(  # type: ignore[override]
        self, score_map: ArrayLike, defects: Tensor, saturation: Tensor
    ) -> None:
        """Count one image.

        Args:
            score_map: Floating (1, 1, H, W), any finite values, on the metric's device.
            defects: Bool (C, H, W), the pixels of each defect, on the same device; C may be 0.
            saturation: Int64 (C,), pixels that cover a defect, from 1 to their number.

        Raises:
            MetricInputError: A ValueError, as `MapMetric.update`, or for saturations outside their range.
        """
        area = defects.flatten(1).sum(dim=1)
        if len(saturation) != len(defects) or not bool(
            ((saturation >= 1) & (saturation <= area)).all()
        ):
            raise checks.MetricInputError(
                f"saturation must be from 1 to the area of each defect, {area.tolist()}, got "
                f"{saturation.tolist()}."
            )
        mask = defects.any(dim=0)[None, None]
        score, _, _, wrong = self._check(score_map, mask, None)
        self._count_images(1, wrong)
        home, shift = self._home, int(self.shift)
        keys, masks = score_keys(score).flatten().to(home), defects.flatten(1).to(home)
        counts = count_saturated(keys, masks, saturation, self._bound, shift)
        if self.tally_keys:
            counts = merge_counts([self._own_counts(home, shift), counts], self._bound)
        self._keep(counts)

    def compute(self) -> Tensor:
        """Return the area of all images of all processes since the last reset.

        Returns:
            Float64 scalar on the metric's device, [0, 1]; nan without defects or without normal pixels.

        Raises:
            MetricInputError: A ValueError, before the first update, or for bad values in an update.
        """
        self.check_values()
        ranking = functional.rank(self._all_counts())
        self._curves = make_curves(ranking)
        value = functional.pro(ranking, self.fpr_limit)
        return as_scalar(value, self.device)
