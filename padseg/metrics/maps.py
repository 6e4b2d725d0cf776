"""Metrics of score maps from one bounded state: counts of their scores."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from padseg.metrics import checks, functional
from padseg.metrics.base import RankingMetric, counting_device
from padseg.metrics.checks import ArrayLike
from padseg.metrics.score_counts import ScoreCounts, count_pixels, merge_counts, score_keys

# The states that hold the columns of `ScoreCounts`, in the order of its fields.
COUNTS = ("tally_keys", "tally_total", "tally_defect_keys", "tally_defect", "tally_weight")


class MapMetric(RankingMetric):
    """Counts the scores of all pixels; what is computed from the counts is up to its subclasses.

    The state holds at most 2**20 distinct scores with integer counts, a buffer of 2**22 pixels and one
    number per defect instance, however many images there are. Up to 2**20 distinct scores it is exact;
    beyond that, the scores lose just enough of their lowest bits. It is identical bit for bit for any
    batch size, order of images and number of processes.

    Scores can be any finite numbers; they are compared as float32. `forward` takes twice as long as
    `update`, because it also computes the value of the batch.

    On CUDA, `update` with `regions` copies nothing to the host, and the host waits only once every 2**22
    pixels, when the buffer is counted on the device and the number of distinct scores determines the
    size of the state. Processes synchronise once, in `compute`; any of them may have seen no images.
    After a `compute`, torchmetrics keeps its value where nothing is updated: then either all processes update or
    `reset` before the next one, or none does, or those that did would wait for the others for ever.

    Args:
        exact: Keep every pixel on the CPU (8 bytes each) and never drop bits.
        overlap: An instance is found if more than this share of its pixels is, [0, 1).
        **kwargs: For torchmetrics' `Metric`.
    """

    level = "pixel"
    reasons = (
        "has a score that is NaN, infinite or too large for float32",
        "has a mask with other values than 0 and 1 (divide by 255 or compare with a threshold)",
        "has regions that are not positive exactly where its mask is 1",
    )
    full_state_update = True  # `forward` must count into the bounded state

    max_keys: int = 2**20
    max_buffered: int = 2**22

    shift: Tensor
    buffer_keys: list[Tensor]
    buffer_regions: list[Tensor]
    tally_keys: list[Tensor]
    tally_total: list[Tensor]
    tally_defect_keys: list[Tensor]
    tally_defect: list[Tensor]
    tally_weight: list[Tensor]
    instance_keys: list[Tensor]

    def __init__(self, exact: bool = False, overlap: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exact = exact
        self.overlap = overlap
        self.add_state("shift", torch.tensor(0), "max")
        # Empty when processes synchronise; states, so that they are reset, moved and copied.
        self.add_state("buffer_keys", [], None)
        self.add_state("buffer_regions", [], None)
        for name in (*COUNTS, "instance_keys"):
            self.add_state(name, [], "cat")

    def update(
        self, score_map: ArrayLike, mask: ArrayLike, regions: ArrayLike | None = None
    ) -> None:
        """Count a batch of tensors or NumPy arrays.

        Args:
            score_map: Floating (B, 1, H, W) or (B, H, W), any finite values, on the metric's device.
            mask: Bool, integer or floating of the same shape and device, 1 for defect, 0 for normal.
            regions: Integer of the same shape and device: 0 for background, below 2**31 for the
                8-connected regions, with unique positive numbers within an image. Without it, the masks
                are copied to the host and labelled there.

        Raises:
            MetricInputError: A ValueError, for wrong shapes, dtypes or devices. For NaN, infinite
                scores, masks that are not binary and regions that do not fit the mask: here on the CPU,
                in `compute` elsewhere.
        """
        score, defect, labels, wrong = self._check(score_map, mask, regions)
        self._count_images(len(score), wrong)
        labels = self._regions(defect, labels)
        per_image = score.shape[1] * score.shape[2]
        step = max(1, self.max_buffered // per_image)
        for start in range(0, len(score), step):
            self._add(score[start : start + step], labels[start : start + step])

    def _regions(self, defect: Tensor, labels: Tensor | None) -> Tensor:
        """Return the regions to count, int32 (B, H, W); pixels with negative ones are left out."""
        return functional.label_regions(defect) if labels is None else labels

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """See RankingMetric."""
        self._flush()
        super().merge_state(incoming_state)
        self._keep(merge_counts([self._own_counts(self._home, int(self.shift))], self._bound))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Count the buffer, then synchronise processes as torchmetrics does."""
        if not self._is_synced:
            self._flush()
        super().sync(*args, **kwargs)

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # What was on the CPU must be on the device that processes use to communicate.
        if self.exact:
            for name in (*COUNTS, "instance_keys"):
                setattr(self, name, [part.to(self.device) for part in getattr(self, name)])
        super()._sync_dist(*args, **kwargs)

    def _check(
        self, score_map: ArrayLike, mask: ArrayLike, regions: ArrayLike | None
    ) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
        """Return scores, defects and labels as (B, H, W), and where they are wrong for each reason."""
        score_map = checks.as_tensor("score_map", score_map, self.device)
        mask = checks.as_tensor("mask", mask, self.device)
        checks.check_scores("score_map", score_map, self.device)
        checks.check_companion("mask", mask, "score_map", score_map)
        score = checks.as_maps("score_map", score_map).detach().float()
        mask = checks.as_maps("mask", checks.comparable(mask))
        checks.check_same_shape("mask", mask, "score_map", score)
        defect = mask if mask.dtype == torch.bool else mask != 0
        lowest, highest = score.flatten(1).aminmax(dim=1)  # both are nan where any score is
        wrong = [~(lowest.isfinite() & highest.isfinite())]
        wrong.append(torch.zeros_like(wrong[0]) if mask.dtype == torch.bool else mask != defect)
        wrong.append(torch.zeros_like(wrong[0]))
        if regions is None:
            return score, defect, None, wrong
        regions = checks.as_tensor("regions", regions, self.device)
        checks.check_companion("regions", regions, "score_map", score_map)
        if regions.is_floating_point() or regions.dtype == torch.bool:
            raise checks.MetricInputError(
                f"regions must be integer labels, got {checks.describe(regions)}."
            )
        regions = checks.as_maps("regions", regions)
        checks.check_same_shape("regions", regions, "score_map", score)
        labels = regions.to(torch.int32, copy=True)  # kept for later, when it may have changed
        wrong[2] = ((labels > 0) != defect) | (labels < 0)
        return score, defect, labels, wrong

    def _add(self, score: Tensor, labels: Tensor) -> None:
        """Buffer some images, (B, H, W); count the buffer first if they do not fit."""
        buffered = sum(keys.numel() for keys in self.buffer_keys)
        if not self.exact and buffered + score.numel() > self.max_buffered:
            self._flush()
        keys = score_keys(score)
        home = torch.device("cpu") if self.exact else score.device
        self.buffer_keys.append(keys.flatten(1).to(home))
        self.buffer_regions.append(labels.flatten(1).to(home))

    def _flush(self) -> None:
        """Count the buffered images; afterwards each list state has one tensor.

        It has one even if there is nothing to count: a process with an empty list would send a tensor of
        another dtype than the others.
        """
        home, bound, shift = self._home, self._bound, int(self.shift)
        found = empty = torch.empty(0, dtype=torch.int32, device=home)
        parts = [self._own_counts(home, shift)] if self.tally_keys else []
        if self.buffer_keys or not parts:
            sizes = [keys.shape[1] for keys in self.buffer_keys for _ in range(len(keys))]
            starts = torch.tensor([0, *sizes[:-1]], device=home).cumsum(0)
            keys, regions = (
                torch.cat([empty, *(part.to(home).flatten() for part in buffer)])
                for buffer in (self.buffer_keys, self.buffer_regions)
            )
            # Cleared before the count, which needs the memory. The lists are new ones, because those of a
            # `MetricCollection` may be shared with other metrics.
            self.buffer_keys, self.buffer_regions = [], []
            counted, found = count_pixels(keys, regions, starts, self.overlap, bound, shift)
            parts.append(counted)
        counts = parts[0] if len(parts) == 1 else merge_counts(parts, bound)
        self._keep(counts)
        self.instance_keys = [torch.cat([part.to(home) for part in (*self.instance_keys, found)])]

    @property
    def _home(self) -> torch.device:
        """Where the state is."""
        return torch.device("cpu") if self.exact else counting_device(self.device)

    @property
    def _bound(self) -> int | None:
        """Distinct scores in the state, at most."""
        return None if self.exact else self.max_keys

    def _keep(self, counts: ScoreCounts) -> None:
        for name, column in zip(COUNTS, counts, strict=False):
            setattr(self, name, [column])
        self.shift = torch.full_like(self.shift, counts.shift)

    def _own_counts(self, home: torch.device, shift: int) -> ScoreCounts:
        keys, total, defect_keys, defect, weight = (
            dim_zero_cat(getattr(self, name)).to(home) for name in COUNTS
        )
        return ScoreCounts(keys, total, defect_keys, defect, weight, shift)

    def _all_counts(self) -> ScoreCounts:
        """Return the counts of all processes, on the CPU."""
        counts = self._own_counts(torch.device("cpu"), int(self.shift))
        if not self._is_synced:
            return counts
        return merge_counts([counts], self._bound)
