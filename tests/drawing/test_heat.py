"""Colours of scores: their order, the threshold in the middle, and what stays untouched."""

import numpy as np
import pytest

from padseg.drawing import COLOURS, HeatScale, heatmap, opacities
from padseg.drawing.heat import tint
from padseg.metrics.score_scale import ScoreScale


@pytest.mark.parametrize("threshold", [1e-5, 0.002, 0.3, 0.9])
def test_the_threshold_is_the_middle_of_the_scale(threshold):
    scale = HeatScale(threshold)
    scores = np.unique(np.concatenate([np.linspace(0, 1, 999), [threshold]]))
    levels = scale.levels(scores)
    assert (np.diff(levels) > 0).all()
    ends_and_middle = scale.levels(np.array([0, threshold, 1]))
    np.testing.assert_allclose(ends_and_middle, [0, 0.5, 1], atol=1e-9)


def test_the_levels_are_normalised_scores():
    scale = ScoreScale(0.2, spread=0.05)
    scores = np.linspace(0, 1, 99)
    levels = HeatScale.of(scale).levels(scores)
    np.testing.assert_allclose(levels, [scale(score) for score in scores])
    # Narrow scores of normal pixels make the colours rise faster.
    assert (levels[scores > 0.2] >= HeatScale(0.2).levels(scores)[scores > 0.2]).all()


@pytest.mark.parametrize("threshold", [0.0, 1.0, None])
@pytest.mark.parametrize("top", [0.0, 1.0])
def test_extreme_scales_give_numbers(threshold, top):
    levels = HeatScale(threshold, top).levels(np.array([0, 0.5, 1], dtype=np.float32))
    assert np.isfinite(levels).all()
    assert levels.min() >= 0
    assert levels.max() <= 1


def test_colours_are_plasma_and_their_lightness_rises():
    # The ends of the published colour map.
    np.testing.assert_allclose(COLOURS[0], (13, 8, 135), atol=2)
    np.testing.assert_allclose(COLOURS[-1], (240, 249, 33), atol=2)
    lightness = COLOURS @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) >= -1).all()


def test_heatmap():
    scores = np.array([[0, 0.25, 0.5, 7.0]], dtype=np.float32)
    linear = heatmap(scores, HeatScale(None, top=0.5))
    assert linear.dtype == np.uint8
    assert (linear[0] == COLOURS[[0, 128, 255, 255]]).all()
    assert (heatmap(scores, HeatScale(0.25))[0, [0, 1, 3]] == COLOURS[[0, 128, 255]]).all()
    assert heatmap(np.zeros((2, 2)), HeatScale(None, top=0)).shape == (2, 2, 3)


def test_nothing_is_tinted_where_nothing_is_found():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    score_map = rng.random((20, 30), dtype=np.float32)
    tinted = tint(image, score_map, HeatScale(0.6))
    found = score_map > 0.6
    assert (tinted[~found] == image[~found]).all()
    assert (tinted[found] != image[found]).any(axis=-1).mean() > 0.95
    assert (tint(image, score_map, HeatScale(1.0)) == image).all()


def test_a_pixel_just_above_the_threshold_is_tinted():
    threshold = np.float32(0.002)
    above = np.nextafter(threshold, np.float32(1))
    image = np.full((1, 2, 3), 255, np.uint8)
    tinted = tint(image, np.array([[threshold, above]]), HeatScale(float(threshold)))
    assert (tinted[0, 0] == 255).all()
    share = opacities(HeatScale(0.5))[128]
    np.testing.assert_allclose(tinted[0, 1], 255 * (1 - share) + COLOURS[128] * share, atol=1)


def test_the_tint_is_stronger_the_higher_the_score():
    for scale in (HeatScale(0.1), HeatScale(None, top=0.9)):
        scores = np.linspace(0.11, 0.9, 50, dtype=np.float32)[None]
        grey = tint(np.full((1, 50, 3), 128, np.uint8), scores, scale)
        lightness = grey[0] @ np.array([0.2126, 0.7152, 0.0722])
        assert lightness[-1] > lightness[0] + 20
        assert (np.diff(opacities(scale)) >= 0).all()


@pytest.mark.parametrize("threshold", [0.6, None])
def test_tints_are_the_same_in_bands(threshold, monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 20, 3), dtype=np.uint8)
    score_map = rng.random((37, 20), dtype=np.float32)
    whole = tint(image, score_map, HeatScale(threshold, 0.9))
    monkeypatch.setattr("padseg.drawing.heat._BAND", 100)
    assert np.array_equal(tint(image, score_map, HeatScale(threshold, 0.9)), whole)
