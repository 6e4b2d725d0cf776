"""Counts of pixels where a defect is found before all of its pixels are: what sPRO is computed from."""

import torch
from torch import Tensor

from padseg.metrics.score_counts import REGION_UNIT, ScoreCounts, add_up, drop_bits, smallest_shift


def count_saturated(
    keys: Tensor, defects: Tensor, saturation: Tensor, bound: int | None, shift: int = 0
) -> ScoreCounts:
    """Count the pixels of one image whose defects may overlap.

    Once `saturation` pixels of a defect are at or above a threshold, it is covered. So only that many of
    its highest pixels weigh anything, and equally: the mean coverage is as linear in the pixels as for PRO.

    Args:
        keys: Int32 (N,), all pixels.
        defects: Bool (C, N), the pixels of each defect, at least one each.
        saturation: Int64 (C,), pixels that cover a defect, from 1 to their number.
        bound: Largest number of distinct keys; None for no bound.
        shift: Number of bits that must be dropped in any case.

    Returns:
        The counts; their weights add up to `REGION_UNIT` for each defect, except for rounding.
    """
    # Keys, and what each adds to the number and to the weight of defect pixels.
    groups = [(keys[defects.any(dim=0)], 1, 0)]
    for defect, needed in zip(defects, saturation.tolist(), strict=True):
        groups.append((keys[defect].topk(needed).values, 0, round(REGION_UNIT / needed)))
    parts = torch.cat([part for part, _, _ in groups])
    counts = torch.cat([torch.full_like(part, one, dtype=torch.int64) for part, one, _ in groups])
    weights = torch.cat(
        [torch.full_like(part, each, dtype=torch.int64) for part, _, each in groups]
    )
    ordered = keys.sort().values
    shift = smallest_shift(ordered, bound, shift)
    distinct, total = add_up(drop_bits(ordered, shift), [torch.ones_like(keys, dtype=torch.int64)])
    defect_keys, found, weight = add_up(drop_bits(parts, shift), [counts, weights])
    return ScoreCounts(distinct, total, defect_keys, found, weight, shift)
