"""Counts of scores: the same for any batches and order, exact up to the bound and bounded beyond."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from padseg.metrics import PixelMetrics
from padseg.metrics.checks import MetricInputError
from padseg.metrics.score_counts import (
    REGION_LIMIT,
    REGION_UNIT,
    drop_bits,
    key_scores,
    score_keys,
)


@pytest.mark.parametrize("max_keys", [None, 2, 60, 400])
def test_batches_and_order_do_not_matter(literal, measure, max_keys):
    """700 buffered pixels: less than two images, so most splits count many times."""
    scores, masks = literal.sample(images=9, seed=7)
    expected = measure(scores, masks, max_keys=max_keys)
    generator = np.random.default_rng(0)
    for batch in (1, 2, 4, 9):
        order = generator.permutation(9).tolist()
        assert measure(scores, masks, batch=batch, order=order, max_keys=max_keys) == expected


@pytest.mark.parametrize("kind", ["spread", "narrow", "signs", "ties", "first_few_then_many"])
def test_shift_is_a_function_of_the_whole_set(kind):
    """Sets that reach the bound early, late, or jump over shifts, in any order."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(12, 10, 10, generator=generator)
    if kind == "narrow":
        scores = 1 + scores * 1e-5
    elif kind == "signs":
        scores = (scores - 0.5) * 10.0 ** torch.linspace(-30, 30, 12)[:, None, None]
    elif kind == "ties":
        scores = (scores * 9).round()
    elif kind == "first_few_then_many":
        scores[:6] = 0.25
    masks = torch.rand(scores.shape, generator=generator) < 0.1
    states = []
    for order in (range(12), reversed(range(12)), torch.randperm(12, generator=generator).tolist()):
        metric = PixelMetrics()
        metric.max_keys, metric.max_buffered = 50, 150
        for at in order:
            metric.update(scores[at : at + 1], masks[at : at + 1])
        values = {name: float(value) for name, value in metric.compute().items()}
        tally = [
            getattr(metric, f"tally_{name}")[0].tolist() for name in ("keys", "total", "weight")
        ]
        states.append((values, int(metric.shift), *tally, sorted(metric.instance_keys[0].tolist())))
        # No smaller shift would do.
        bits = torch.where(scores == 0, 0.0, scores).view(torch.int32)
        keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        distinct = [len((keys >> shift).unique()) for shift in range(32)]
        assert int(metric.shift) == next(s for s, number in enumerate(distinct) if number <= 50)
        assert len(metric.tally_keys[0]) == distinct[int(metric.shift)]
    assert states[0] == states[1] == states[2]


def test_strictly_increasing_maps_change_nothing(literal, measure):
    scores, masks = literal.sample(seed=8, levels=50)
    expected = measure(scores, masks)
    assert measure(scores * 1000 - 5, masks) == expected
    assert measure(torch.exp(scores.double() * 3), masks) == expected


def test_rounded_values_stay_close(literal, measure):
    scores, masks = literal.sample(images=12, height=64, width=64, seed=9)
    exact = measure(scores, masks, exact=True)
    assert measure(scores, masks, max_keys=4096) == pytest.approx(exact, abs=1e-3)
    assert measure(scores, masks) == exact


@pytest.mark.parametrize("max_keys", [2, 30, 400])
def test_dropped_bits_are_those_of_the_scores(literal, measure, max_keys):
    """Beyond the bound every metric is the exact one of scores without their lowest bits."""
    scores, masks = literal.sample(images=9, seed=18)
    metric = PixelMetrics()
    metric.max_keys, metric.max_buffered = max_keys, 700
    for at in range(9):
        metric.update(scores[at : at + 1], masks[at : at + 1])
    values = {name: float(value) for name, value in metric.compute().items()}
    shift = int(metric.shift)
    assert shift > 0
    rounded = key_scores(drop_bits(score_keys(scores), shift))
    assert (rounded <= scores).all()
    assert len(rounded.unique()) <= max_keys
    assert values == measure(rounded, masks, exact=True)


def test_bound_is_met_exactly(literal):
    """As many keys as allowed are kept; one more, and a bit is dropped."""
    scores, masks = literal.sample(images=4, seed=19)
    keys = score_keys(scores).flatten()
    for shift in (0, 9, 17, 22):
        distinct = len((keys >> shift).unique())
        for bound, expected in ((distinct, shift), (distinct - 1, shift + 1)):
            metric = PixelMetrics()
            metric.max_keys = bound
            metric.update(scores, masks)
            metric.compute()
            assert int(metric.shift) == expected


@pytest.mark.slow
def test_millions_of_skewed_scores(measure):
    """5.4 million scores, most of them near zero, against the exact values."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(83, 256, 256, dtype=torch.bool)
    for at in range(63):
        for y, x in torch.randint(0, 200, (2, 2), generator=generator).tolist():
            masks[at, y : y + 40, x : x + 30] = True
    scores = torch.rand(masks.shape, generator=generator) ** 8
    scores += masks * torch.rand(masks.shape, generator=generator) * 0.2
    exact = measure(scores, masks, exact=True)
    found = measure(scores, masks, batch=16)
    assert found == pytest.approx(exact, abs=2e-5)
    assert measure(scores, masks, batch=7, order=torch.randperm(83).tolist()) == found
    flat, truth = scores.numpy().ravel(), masks.numpy().ravel()
    assert exact["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
    assert exact["pixel_ap"] == pytest.approx(average_precision_score(truth, flat), abs=1e-9)


def test_memory_does_not_grow_with_images(literal):
    metric = PixelMetrics()
    metric.max_keys, metric.max_buffered = 1000, 5000
    sizes = []
    for seed in range(60):
        scores, masks = literal.sample(images=4, seed=seed)
        metric.update(scores, masks)
        states = [getattr(metric, name) for name in metric._defaults]
        tensors = [t for state in states for t in (state if isinstance(state, list) else [state])]
        instances = sum(t.nbytes for t in metric.instance_keys)
        sizes.append(sum(t.nbytes for t in tensors) - instances)
        # 12 bytes a key, 20 more if a defect has it, 8 a buffered pixel, and the counters.
        assert sizes[-1] <= 32 * 1000 + 8 * 5000 + 100
    assert 5 * max(sizes) < 60 * 4 * 24 * 20 * 8


@pytest.mark.slow
def test_regions_whose_weights_would_overflow_are_refused():
    """Of a sum of so many weights, only the sign bit would be left."""
    weights = torch.tensor([REGION_LIMIT - 1, 1]) * REGION_UNIT
    assert weights[0] > 0 > weights.sum()
    score, mask = torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[0, 0, 0, 0] = 1
    metric = PixelMetrics()
    metric.update(score, mask)
    metric.instance_keys = [torch.zeros(REGION_LIMIT - 2, dtype=torch.int32)]
    metric.compute()
    metric.update(score, mask)
    with pytest.raises(MetricInputError, match="8388608 regions"):
        metric.compute()
