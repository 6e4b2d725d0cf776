"""AUPIMO against its definition, image by image and threshold by threshold."""

import math

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from padseg.metrics import AUPIMO, MetricInputError, PixelMetrics


def literal_aupimo(scores, masks, lower, upper):
    """The area of each defective image, by a fine step-wise integral over the logarithm of the rate."""
    scores, masks = scores.double().numpy(), masks.numpy()
    defective = masks.any(axis=(1, 2))
    normal = scores[~defective]
    thresholds = np.unique(np.concatenate([normal.ravel(), scores[masks]]))[::-1]
    rates = np.array([np.mean([(one >= t).mean() for one in normal]) for t in thresholds])
    grid = np.linspace(math.log(lower), math.log(upper), 20001)
    areas = []
    for score, mask in zip(scores[defective], masks[defective], strict=True):
        overlaps = np.array([(score[mask] >= t).mean() for t in thresholds])
        x, y = np.log(rates[rates > 0]), overlaps[rates > 0]
        before = overlaps[rates == 0]
        values = np.interp(grid, x, y)
        values[grid < x[0]] = before[-1] if len(before) else 0
        areas.append(np.trapezoid(values, grid) / (grid[-1] - grid[0]))
    return np.mean(areas)


def measure(scores, masks, batch=None, max_keys=None, **options):
    metric = AUPIMO(**options)
    if max_keys:
        metric.max_keys, metric.max_buffered = max_keys, 700
    for start in range(0, len(scores), batch or len(scores)):
        at = slice(start, start + (batch or len(scores)))
        metric.update(scores[at, None], masks[at, None])
    return metric.compute()


@pytest.mark.parametrize("bounds", [(2e-3, 0.05), (0.01, 0.3), (0.3, 1.0)])
@pytest.mark.parametrize("levels", [None, 9])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(literal, seed, levels, bounds):
    scores, masks = literal.sample(seed=seed, levels=levels)
    lower, upper = bounds
    found = measure(scores, masks, lower=lower, upper=upper)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(literal_aupimo(scores, masks, *bounds), abs=2e-4)


def test_what_is_marked_around_defects_does_not_count(literal):
    scores, masks = literal.sample(seed=1)
    around = masks.flatten(1).any(dim=1)[:, None, None] & ~masks
    before = measure(scores, masks, lower=0.01, upper=0.1)
    assert measure(scores.masked_fill(around, 9), masks, lower=0.01, upper=0.1) == before
    assert 0 < before < 1


def test_defects_without_a_mask_are_no_normal_images(literal):
    scores, masks = literal.sample(seed=1)
    metric = AUPIMO(lower=0.01, upper=0.1)
    defective = masks.flatten(1).any(dim=1)
    metric.update(scores, masks, defective=defective)
    before = metric.compute()
    assert before == measure(scores, masks, lower=0.01, upper=0.1)
    metric.update(scores + 9, torch.zeros_like(masks), defective=torch.ones_like(defective))
    assert metric.compute() == before
    metric.update(scores + 9, torch.zeros_like(masks))
    assert metric.compute() < before
    for wrong in (defective.long(), defective[:1]):
        with pytest.raises(MetricInputError, match="defective must be bool, one for each image"):
            metric.update(scores, masks, defective=wrong)
    metric.update(scores.numpy(), masks.numpy(), defective=defective.numpy())


def test_perfect_and_useless_maps(literal):
    _, masks = literal.sample(seed=2)
    assert measure(masks.float(), masks, lower=0.01, upper=0.1) == 1
    assert measure(1 - masks.float(), masks, lower=0.01, upper=0.1) == 0


@pytest.mark.parametrize("exact", [False, True])
def test_the_same_for_any_batches_and_orders(literal, exact):
    scores, masks = literal.sample(seed=3)
    options = {"lower": 0.01, "upper": 0.1, "exact": exact, "max_keys": 200}
    expected = measure(scores, masks, **options)
    assert measure(scores.flip(0), masks.flip(0), batch=1, **options) == expected
    assert measure(scores, masks, batch=4, **options) == expected


def test_as_many_normal_pixels_as_the_lower_rate_needs():
    scores = torch.rand(2, 7, 7)
    masks = torch.zeros(2, 7, 7, dtype=torch.bool)
    masks[1, 0] = True
    assert measure(scores, masks, lower=1 / 49, upper=1.0).isfinite()
    assert measure(scores, masks, lower=1 / 50, upper=1.0).isnan()


def test_undefined_without_enough_normal_pixels(literal):
    scores, masks = literal.sample(seed=0)
    assert torch.isnan(measure(scores, masks))  # 960 normal pixels cannot show a rate of 1e-5
    assert torch.isnan(measure(scores[:1], masks[:1], lower=0.1, upper=0.5))  # no normal image
    assert torch.isnan(measure(scores[-1:], masks[-1:], lower=0.1, upper=0.5))  # no defect


@pytest.mark.parametrize("bounds", [(0, 0.1), (0.1, 0.1), (0.2, 0.1), (0.5, 1.1)])
def test_bounds(bounds):
    with pytest.raises(MetricInputError, match="0 < lower < upper"):
        AUPIMO(*bounds)


def test_shares_nothing_with_pixel_metrics(literal):
    scores, masks = literal.sample(seed=4)
    both = MetricCollection({"pixel": PixelMetrics(), "aupimo": AUPIMO(0.01, 0.1)})
    for _ in range(2):
        both.update(scores, masks)
        found = both.compute()
    alone = PixelMetrics()
    alone.update(scores.repeat(2, 1, 1), masks.repeat(2, 1, 1))
    assert found["pixel_ap"] == alone.compute()["pixel_ap"]
    assert found["aupimo"] == measure(scores, masks, lower=0.01, upper=0.1)


def test_further_limits_of_pro(literal):
    scores, masks = literal.sample(seed=5)
    metric = PixelMetrics(further_fpr_limits=(0.05, 0.125))
    metric.update(scores, masks)
    found = metric.compute()
    for key, limit in (("pro5", 0.05), ("pro12.5", 0.125)):
        assert float(found[key]) == pytest.approx(literal.pro(scores, masks, limit), abs=1e-9)
    with pytest.raises(MetricInputError, match="further_fpr_limits"):
        PixelMetrics(further_fpr_limits=(1.5,))
