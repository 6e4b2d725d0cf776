"""Normalised scores: what a user may rely on, checked without the formula."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from padseg.metrics.calibration import Calibration, Calibrator
from padseg.metrics.score_scale import ScoreScale, normal_spread

UNIT = st.floats(0, 1, width=32)


@given(threshold=UNIT, spread=st.floats(1e-6, 1), scores=st.lists(UNIT, min_size=1))
def test_the_threshold_is_one_half_and_the_order_stays(threshold, spread, scores):
    scale = ScoreScale(threshold, spread)
    assert scale(threshold) == 0.5
    ordered = sorted({0.0, 1.0, threshold, *scores})
    normalised = [scale(score) for score in ordered]
    assert normalised == sorted(normalised)
    assert normalised[0] >= 0
    assert normalised[-1] <= 1
    for raw, score in zip(ordered, normalised, strict=True):
        # Scores of float32 that differ by a rounding may share their last digits.
        if abs(raw - threshold) > 1e-6:
            assert (score > 0.5) == (raw > threshold)


@pytest.mark.parametrize("threshold", [0.002, 0.05, 0.5, 0.97])
def test_scores_of_float32_keep_their_order_strictly(threshold):
    rng = np.random.default_rng(0)
    raw = np.unique(rng.random(5000).astype(np.float32) ** 4)
    raw = np.unique(np.concatenate([raw, np.nextafter(raw, np.float32(1))]))
    for spread in (0.01 * threshold, 0.3 * threshold, threshold):
        normalised = ScoreScale(threshold, spread).of(raw.astype(np.float64))
        assert (np.diff(normalised) > 0).all()
        assert ((normalised > 0.5) == (raw > threshold)).all()


def test_what_an_engineer_expects():
    """Ranges of scores as measured for STPM, whose scores are tiny, and DeSTSeg, on bottle."""
    for normal, threshold, defect in ((0.0017, 0.0021, 0.0104), (0.004, 0.11, 0.93)):
        scale = ScoreScale(threshold, threshold - normal)
        assert scale(normal) < 0.25
        assert scale(defect) > 0.9
        assert 0.45 < scale(threshold - 0.05 * (threshold - normal)) < 0.5
    assert ScoreScale(0.3, 0.1)(0) == 0
    assert ScoreScale(0.3, 0.1)(1) == 1


def test_numbers_arrays_and_tensors_agree():
    scale = ScoreScale(0.2, 0.07)
    raw = np.linspace(0, 1, 33, dtype=np.float32).reshape(3, 11)
    array, tensor = scale.of(raw), scale.of(torch.from_numpy(raw))
    assert array.shape == raw.shape
    assert array.dtype == np.float32
    assert tensor.dtype == torch.float32
    assert np.abs(array - tensor.numpy()).max() < 1e-6
    assert scale(float(raw[1, 3])) == pytest.approx(float(array[1, 3]), abs=1e-6)


def test_the_spread_is_that_of_the_normal_scores():
    quantiles = ((0.0, 0.1), (0.5, 0.3), (0.95, 0.6), (1.0, 0.8))
    assert normal_spread(0.8, quantiles, 0.5) == pytest.approx(0.5)
    assert normal_spread(0.8, quantiles, 0.95) == pytest.approx(0.2)
    # A single image, or scores that are all equal, say nothing about the spread.
    assert normal_spread(0.8, ((0.5, 0.8),), 0.5) == 0.4
    assert normal_spread(0.8, (), 0.5) == 0.4
    assert normal_spread(0.0, ((0.5, 0.0),), 0.5) > 0


def test_calibrations_store_their_scales_and_early_ones_derive_them():
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(40, 1, 8, 8, generator=draw) ** 3
    calibrator = Calibrator(0.05)
    zero = torch.zeros(maps.shape, dtype=torch.uint8)
    scores = {"score_map": maps, "image_score": maps.flatten(1).amax(1)}
    calibrator.update(scores, zero, torch.zeros(40, dtype=torch.bool))
    found = calibrator.compute("32-true")
    assert found.image_scale(found.image_threshold) == 0.5
    assert found.pixel_scale(found.pixel_threshold) == 0.5
    median = float(np.quantile(scores["image_score"], 0.5, method="inverted_cdf"))
    assert found.image_spread == pytest.approx(found.image_threshold - median)
    stored = found.to_dict()
    assert Calibration.from_dict(stored) == found
    early = {name: value for name, value in stored.items() if not name.endswith("_spread")}
    assert Calibration.from_dict(early).image_scale == found.image_scale
    assert Calibration.from_dict(early).pixel_scale == found.pixel_scale
    for name in ("image_quantiles", "pixel_quantiles"):
        del early[name]
    assert Calibration.from_dict(early).image_scale(found.image_threshold) == 0.5


@given(threshold=st.floats(1e-3, 0.999), spread=st.floats(1e-4, 1), level=st.floats(0, 1))
def test_a_normalised_score_leads_back_to_the_raw_one(threshold, spread, level):
    scale = ScoreScale(threshold, spread)
    raw = scale.raw(level)
    assert 0 <= raw <= 1
    assert scale(raw) == pytest.approx(level, abs=1e-6)
    assert scale.raw(0.5) == threshold
    assert (scale.raw(0), scale.raw(1)) == pytest.approx((0, 1))
