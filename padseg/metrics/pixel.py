"""AUROC, AP, F1max, PRO, IAP and IAP@k of score maps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from padseg.metrics import checks, functional
from padseg.metrics.base import as_tensors
from padseg.metrics.curves import make_curves
from padseg.metrics.maps import MapMetric
from padseg.metrics.score_counts import REGION_LIMIT


class PixelMetrics(MapMetric):
    """Pixel AUROC, AP, F1max, PRO, IAP and IAP@k of score maps against masks.

    See `MapMetric` for the state, which is bounded and does not depend on batches, order or processes. A
    metric that is undefined (no defects, or only defects) is nan, with one warning.

    Args:
        exact: Keep every pixel on the CPU (8 bytes each) and never drop bits.
        fpr_limit: Upper end of the false positive rate for PRO, (0, 1].
        recall: Instance recall of IAP@k, (0, 1]; 0.9 gives the key `iap90`.
        overlap: An instance is found if more than this share of its pixels is, [0, 1).
        further_fpr_limits: Further limits of PRO, (0, 1]; 0.05 gives the key `pro5`, the AU-PRO 0.05 of
            MVTec AD 2 (Heckler-Kram et al., 2025).
        **kwargs: For torchmetrics' `Metric`.

    Raises:
        MetricInputError: A ValueError, for an option outside its range.
    """

    def __init__(
        self,
        exact: bool = False,
        fpr_limit: float = 0.3,
        recall: float = 0.9,
        overlap: float = 0.5,
        further_fpr_limits: Sequence[float] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(exact=exact, overlap=overlap, **kwargs)
        for name, value, legal in (
            ("fpr_limit", fpr_limit, 0 < fpr_limit <= 1),
            ("recall", recall, 0 < recall <= 1),
            ("overlap", overlap, 0 <= overlap < 1),
            *(("further_fpr_limits", limit, 0 < limit <= 1) for limit in further_fpr_limits),
        ):
            if not legal:
                bounds = "[0, 1)" if name == "overlap" else "(0, 1]"
                raise checks.MetricInputError(f"{name} must lie in {bounds}, got {value}.")
        self.fpr_limit = fpr_limit
        self.recall = recall
        self.further_fpr_limits = tuple(further_fpr_limits)
        # What the states depend on, so that a `MetricCollection` shares them only between equal metrics.
        self.add_state("kind", torch.tensor([float(exact), overlap]), "max")

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics of all images since the last reset, over all processes.

        Returns:
            Float64 scalars on the metric's device, [0, 1] or nan: `pixel_auroc`, `pixel_ap`,
            `pixel_f1max`, `pro`, `iap`, `iap90` (the key follows `recall`), and one of each further limit.

        Raises:
            MetricInputError: A ValueError, before the first update, for bad values in an update, or for
                2**23 regions or more.
        """
        self.check_values()
        instance_keys = dim_zero_cat(self.instance_keys)
        if len(instance_keys) >= REGION_LIMIT:
            raise checks.MetricInputError(
                f"the masks have {len(instance_keys)} regions, but PRO can be computed only for fewer than "
                f"{REGION_LIMIT}: evaluate fewer images at a time."
            )
        ranking = functional.rank(self._all_counts(), instance_keys)
        self._curves = make_curves(ranking)
        values = {
            "pixel_auroc": functional.auroc(ranking),
            "pixel_ap": functional.average_precision(ranking),
            "pixel_f1max": functional.f1_max(ranking),
            "pro": functional.pro(ranking, self.fpr_limit),
            "iap": functional.iap(ranking),
            f"iap{100 * self.recall:g}": functional.iap_at(ranking, self.recall),
            **{
                f"pro{100 * limit:g}": functional.pro(ranking, limit)
                for limit in self.further_fpr_limits
            },
        }
        return as_tensors(values, "pixel", ranking, self.device)
