"""What the metrics of score maps and of image scores share."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE, plot_curve

from padseg.metrics import checks, functional
from padseg.metrics.curves import AXIS_TITLES, CURVES, Curve

Values = Tensor | dict[str, Tensor] | Sequence[Tensor] | Sequence[dict[str, Tensor]]
"""One result of a metric, or several."""


class RankingMetric(Metric):
    """A metric that counts images, reports the first bad one, and offers the curves behind its values.

    As it returns several values, torchmetrics' `MetricTracker` takes it inside a `MetricCollection`, with
    `maximize=True`.

    Attributes:
        level: "pixel" or "image".
        reasons: What can be wrong with an image, as the end of a sentence whose subject is the image.
        images_seen: Images of all processes at the last `compute`.
    """

    is_differentiable = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    level: str
    reasons: tuple[str, ...]

    images: Tensor
    updates: Tensor
    bad: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.images_seen = 0
        self._curves: dict[str, Curve] | None = None
        self.add_state("images", torch.tensor(0), "sum")
        self.add_state("updates", torch.tensor(0), "sum")
        self.add_state("bad", torch.full((len(self.reasons),), checks.NONE_BAD), "min")

    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Change nothing: the states are integers, counts and the bits of scores, which another type would round."""
        return self

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Count what another metric has counted, as if this one had seen its images.

        Args:
            incoming_state: The metric, of this class and with the same options, or its `metric_state`.

        Raises:
            MetricInputError: A ValueError, for other metrics and options.
        """
        own: dict[str, Any] = self.metric_state
        other = incoming_state
        if isinstance(other, type(self)):
            other = other.metric_state
        if not (
            isinstance(other, dict)
            and own.keys() == other.keys()
            and ("kind" not in own or torch.equal(own["kind"], other["kind"]))
        ):
            raise checks.MetricInputError(
                f"merge_state takes a {type(self).__name__} with the same options, or its metric_state."
            )
        self._reduce_states(other)
        self._update_count += int(other["updates"])
        self._computed = None

    def check_values(self) -> None:
        """Raise MetricInputError before the first update, or for bad values in an update."""
        if not int(self.updates):
            raise checks.MetricInputError(
                f"{type(self).__name__}.compute was called before update."
            )
        checks.raise_bad(self.bad, self.reasons)
        self.images_seen = int(self.images)

    def curves(self) -> dict[str, Curve]:
        """Return the curves of the last `compute`, computing first if necessary.

        In a distributed run, all processes must call this, or all must have called `compute` before.

        Returns:
            See `padseg.metrics.curves.make_curves`; for image scores only `precision_recall` and `roc`.
        """
        self.compute()
        assert self._curves is not None
        return self._curves

    def plot(self, val: Values | None = None, ax: _AX_TYPE | None = None) -> _PLOT_OUT_TYPE:
        """Plot the values, as torchmetrics does; needs matplotlib.

        Args:
            val: Result of `compute` or `forward`, or several of them, which become lines over the steps;
                None to compute.
            ax: matplotlib's axes to draw on; None for a new figure.

        Returns:
            matplotlib's figure (None if `ax` is given) and axes.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        return self._plot(val, ax)

    def plot_curve(self, curve: str, ax: _AX_TYPE | None = None) -> _PLOT_OUT_TYPE:
        """Plot one of the `curves`; needs matplotlib.

        Args:
            curve: `precision_recall` or `roc`; for score maps also `pro` or `iap`.
            ax: matplotlib's axes to draw on; None for a new figure.

        Returns:
            matplotlib's figure (None if `ax` is given) and axes.

        Raises:
            MetricInputError: A ValueError: there is no such curve, or it is undefined (only one class).
            ModuleNotFoundError: matplotlib is not installed.
        """
        found = self.curves()
        if curve not in found:
            raise checks.MetricInputError(f"curve is {curve!r}; give one of {', '.join(found)}.")
        axes = CURVES.get(curve) or CURVES[f"{self.level}_{curve}"]
        points = found[curve]
        return plot_curve(
            (points[axes.x], points[axes.y], points["threshold"]),
            ax=ax,
            label_names=(AXIS_TITLES[axes.x], AXIS_TITLES[axes.y]),
            name=axes.title,
        )

    def _count_images(self, count: int, wrong: Sequence[Tensor]) -> None:
        """Count a batch; `wrong` has a bool (B, ...) for each reason.

        Raises:
            MetricInputError: On the CPU, if anything is wrong; elsewhere `check_values` raises.
        """
        if count:
            bad = torch.stack([checks.first_bad(one, self.images) for one in wrong])
            if bad.device.type == "cpu":
                checks.raise_bad(bad, self.reasons)
            self.bad = torch.minimum(self.bad, bad)
        self.updates = self.updates + 1
        self.images = self.images + count


def as_tensors(
    values: dict[str, float], what: str, ranking: functional.Ranking, device: torch.device
) -> dict[str, Tensor]:
    """Turn metric values into float64 scalars; warn once if any is nan, and say why."""
    undefined = [name for name, value in values.items() if math.isnan(value)]
    if undefined:
        lacking = "defect" if not ranking.positives else "normal"
        rank_zero_warn(
            f"{', '.join(undefined)} not defined and set to nan: there is no {lacking} {what}.",
            UserWarning,
        )
    return {name: as_scalar(value, device) for name, value in values.items()}


def as_scalar(value: float, device: torch.device) -> Tensor:
    """A float64 scalar on the device, or on the one that counts for it."""
    return torch.tensor(value, dtype=torch.float64, device=counting_device(device))


def counting_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU if the device has no float64 (Apple's GPUs)."""
    return torch.device("cpu") if device.type == "mps" else device
