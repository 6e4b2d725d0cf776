"""How often each score occurs: the state from which every ranking metric is computed.

A float32 score is stored as an int32 *key* that sorts like the score, so counting scores is counting
integers, and sums are exact in any order. Above a bound on the number of distinct keys, all keys lose
their lowest bits, which keeps the relative resolution equal over the whole range of scores. Unlike bins
of equal width, this needs no guess of the range.

Here is why the result depends only on the set of pixels, not on batches, order or processes. Let d(A, s)
be the number of distinct keys of the set A without their s lowest bits, and s(A) the smallest s with
d(A, s) <= bound. The claim is that all counts of A, however merged, have the shift s(A), and are those of A
under it.

1. d(A, s) does not grow with s, and not when A shrinks. So A within B means s(A) <= s(B).
2. The counts of A keep only keys without their s(A) lowest bits, but for every s >= s(A) that is enough
   to know the keys of A under s: (k >> a) >> (s - a) == k >> s.
3. To merge A and B is to start at max(s(A), s(B)), which by 1 is at most s(A + B), and to take the
   smallest s from there on with d(A + B, s) <= bound. By 2 that d is known exactly; as no smaller s can
   fulfil it by 1, the s found is s(A + B).
4. Counts under s(A + B) are sums of integers, equal in any order.

By induction this holds for every tree of merges. The bound is on the keys of normal and defect pixels
together, or step 1 would be about two sets with two shifts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LARGEST_SHIFT = 31
"""Leaves the sign bit, hence two keys: any bound from 2 on can be met."""
REGION_UNIT = 2**40
"""Fixed-point weight of one whole region. Each pixel of a region of area a weighs 2**40 / a, rounded:
relative error below a / 2**41."""
REGION_LIMIT = 2**23
"""Their weights would overflow int64."""

_MAGNITUDE = 0x7FFF_FFFF


class ScoreCounts(NamedTuple):
    """Distinct keys in ascending order with their counts; of all pixels, and of the few defect ones.

    Attributes:
        keys: Int32 (K,), ascending, the `shift` lowest bits zero.
        total: Int64 (K,), pixels with that key, defect or not.
        defect_keys: Int32 (D,), those of `keys` that a defect pixel has, ascending.
        defect: Int64 (D,), defect pixels with that key.
        weight: Int64 (D,), sum of `REGION_UNIT / area` over those pixels.
        shift: Number of bits dropped, 0 to 31.
    """

    keys: Tensor
    total: Tensor
    defect_keys: Tensor
    defect: Tensor
    weight: Tensor
    shift: int


def score_keys(score: Tensor) -> Tensor:
    """Turn scores into integers that sort like them.

    Args:
        score: Floating, any shape. Cast to float32 first; -0.0 counts as 0.0.

    Returns:
        Int32 keys of the same shape.
    """
    bits = (score.detach().to(torch.float32) + 0.0).contiguous().view(torch.int32)
    # IEEE 754 floats sort by their bits as signed integers, except that negative ones run backwards.
    return bits ^ ((bits >> 31) & _MAGNITUDE)


def key_scores(keys: Tensor) -> Tensor:
    """Turn keys back into float32 scores.

    Of a key without its lowest bits this is the lower edge, so that `score >= edge` selects exactly
    the pixels of this key and the ones above. Below the lowest float32, the lowest float32.
    """
    lowest = score_keys(torch.tensor(torch.finfo(torch.float32).min, device=keys.device))
    keys = torch.maximum(keys, lowest)
    return (keys ^ ((keys >> 31) & _MAGNITUDE)).view(torch.float32)


def drop_bits(keys: Tensor, shift: int) -> Tensor:
    """Set the `shift` lowest bits of int32 keys to zero; keeps their order."""
    return keys & -(1 << shift) if shift else keys


def count_pixels(
    keys: Tensor, regions: Tensor, starts: Tensor, overlap: float, bound: int | None, shift: int = 0
) -> tuple[ScoreCounts, Tensor]:
    """Count the pixels of some whole images.

    Args:
        keys: Int32 (N,), all pixels, image after image. May be sorted in place.
        regions: Int32 (N,), 0 outside the defects, a positive label per connected defect and image;
            pixels with negative labels are left out.
        starts: Int64 (B,), ascending, index of the first pixel of each image.
        overlap: Share of a defect instance that must be exceeded for it to be found, [0, 1).
        bound: Largest number of distinct keys; None for no bound.
        shift: Number of bits that must be dropped in any case.

    Returns:
        The counts, and one int32 key per defect instance: the highest score threshold at which more
        than `overlap` of its pixels are found, at full resolution, in no particular order.
    """
    where = _where(regions > 0)
    image = torch.searchsorted(starts, where, right=True)
    label = image << 32 | regions[where].long()
    order = _argsort(label)
    label = label[order]
    defect_keys = keys[where[order]]

    ends = _run_ends(label)
    area = _differences(ends + 1)
    instance = torch.repeat_interleave(torch.arange(len(area), device=keys.device), area)
    share = torch.div(REGION_UNIT + area // 2, area, rounding_mode="floor")

    # Sorted by (instance, key): the instance's n-th largest key is n places before its last.
    packed = _sort(instance << 32 | (defect_keys.long() + 2**31))
    # The small term prevents 0.29 * 100 = 28.999... from counting as 28.
    needed = torch.floor(overlap * area.double() + 1e-9).long().clamp(max=area - 1)
    instance_keys = ((packed[ends - needed] & 0xFFFF_FFFF) - 2**31).int()

    counted = regions >= 0
    ordered = _sort(keys if bool(counted.all()) else keys[counted])
    shift = smallest_shift(ordered, bound, shift)
    ordered = drop_bits(ordered, shift)
    ends = _run_ends(ordered)
    one_each = torch.ones_like(where)
    defect_keys, defect, weight = add_up(drop_bits(defect_keys, shift), [one_each, share[instance]])
    total = _differences(ends + 1)
    return ScoreCounts(ordered[ends], total, defect_keys, defect, weight, shift), instance_keys


def count_scores(keys: Tensor, label: Tensor) -> ScoreCounts:
    """Count labelled scores that belong to no region, such as those of images.

    Args:
        keys: Int32 (N,).
        label: Bool (N,).

    Returns:
        Counts without bound, their weights zero.
    """
    count = label.long()
    chosen = keys[label]
    keys, total = add_up(keys, [torch.ones_like(count)])
    defect_keys, defect = add_up(chosen, [count[label]])
    return ScoreCounts(keys, total, defect_keys, defect, torch.zeros_like(defect), 0)


def merge_counts(parts: Sequence[ScoreCounts], bound: int | None) -> ScoreCounts:
    """Add up counts and drop as many bits as the bound requires.

    The keys of a part may be in any order and repeat, as in the concatenated counts of several processes.
    Sorting is fast if they form ascending runs.
    """
    keys = torch.cat([part.keys for part in parts])
    order = _argsort(keys, in_runs=True)
    ordered = keys.index_select(0, order)
    shift = smallest_shift(ordered, bound, max(part.shift for part in parts))
    keys, total = add_up(
        drop_bits(ordered, shift), [torch.cat([part.total for part in parts])], order
    )
    defect_keys, defect, weight = add_up(
        drop_bits(torch.cat([part.defect_keys for part in parts]), shift),
        [torch.cat([part.defect for part in parts]), torch.cat([part.weight for part in parts])],
    )
    return ScoreCounts(keys, total, defect_keys, defect, weight, shift)


def smallest_shift(ordered: Tensor, bound: int | None, start: int) -> int:
    """Return the smallest shift from `start` on that leaves at most `bound` distinct keys.

    Args:
        ordered: Int32 (N,), ascending, may repeat.
        bound: At least 2; None for no bound.
        start: Lower end of the search, 0 to 31.
    """
    if bound is None or len(ordered) <= bound:
        return start
    # Neighbours differ after a shift exactly if a differing bit is left.
    differing = ordered[1:] ^ ordered[:-1]
    always = 1 + int(torch.count_nonzero(differing < 0))  # the sign bit is never dropped
    low, high, middle = start, LARGEST_SHIFT, start
    while low < high:
        if always + int(torch.count_nonzero(differing >= 1 << middle)) <= bound:
            high = middle
        else:
            low = middle + 1
        middle = (low + high) // 2
    return low


def add_up(keys: Tensor, columns: Sequence[Tensor], order: Tensor | None = None) -> list[Tensor]:
    """Return the distinct keys, ascending, and the sum of each int64 column over equal keys.

    `order` means that the keys are already sorted, and how to reorder the columns accordingly.
    """
    if order is None:
        order = _argsort(keys)
        keys = keys[order]
    ends = _run_ends(keys)
    sums = [_differences(column.index_select(0, order).cumsum(0)[ends]) for column in columns]
    return [keys[ends], *sums]


def _run_ends(ordered: Tensor) -> Tensor:
    """Return the index of the last element of each run of equal values."""
    last = torch.ones(min(len(ordered), 1), dtype=torch.bool, device=ordered.device)
    return _where(torch.cat([ordered[1:] != ordered[:-1], last]))


def _where(values: Tensor) -> Tensor:
    """Return the indices of nonzero values; NumPy's search is three times as fast on the CPU."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(values.numpy()))
    return values.nonzero().squeeze(1)


def _differences(cumulated: Tensor) -> Tensor:
    return torch.diff(cumulated, prepend=cumulated.new_zeros(1))


def _sort(values: Tensor) -> Tensor:
    """Sort; on the CPU in place with NumPy, whose vectorised sort is ten times as fast."""
    if values.device.type == "cpu":
        values.numpy().sort()
        return values
    return torch.sort(values).values


def _argsort(values: Tensor, in_runs: bool = False) -> Tensor:
    """Sort indirectly; `in_runs` means that the values consist of a few ascending runs."""
    if values.device.type == "cpu":
        # NumPy's stable sort merges existing runs; its default is a vectorised quicksort.
        return torch.from_numpy(
            np.argsort(values.numpy(), kind="stable" if in_runs else "quicksort")
        )
    return torch.argsort(values, stable=True)
