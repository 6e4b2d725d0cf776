"""Thresholds against brute force on all scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from padseg.errors import ConfigError
from padseg.metrics.calibration import Calibration, Calibrator, PixelScores, conformal_rank


def scores(count: int, size: int = 16, seed: int = 0, high: float = 0.3):
    draw = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, 1, size, size, generator=draw) ** 3 * high
    return {"score_map": maps, "image_score": maps.flatten(1).amax(1)}


def calibrated(calibrator: Calibrator, normal, defects=None, batch: int = 7):
    for given, mask in ((normal, 0), (defects, 1)):
        if given is not None:
            for start in range(0, len(given["image_score"]), batch):
                part = {name: values[start : start + batch] for name, values in given.items()}
                masks = torch.full(part["score_map"].shape, mask, dtype=torch.uint8)
                label = torch.full((len(masks),), bool(mask))
                calibrator.update(part, masks, label)
    return calibrator.compute("32-true")


@pytest.mark.parametrize("rate", [0.3, 0.05, 0.01, 0.001])
def test_thresholds_are_the_lowest_that_keep_the_rates(rate):
    normal = scores(150)
    result = calibrated(Calibrator(rate, rate), normal)
    pixels = np.sort(normal["score_map"].numpy().ravel())
    above = (pixels > np.float32(result.pixel_threshold)).sum()
    assert above == np.floor(rate * pixels.size)
    ordered = np.sort(normal["image_score"].numpy())
    rank = min(int(np.ceil(151 * (1 - rate) - 1e-9)), 150)
    assert result.image_threshold == ordered[rank - 1]
    assert result.expected_false_alarm_rate == pytest.approx((151 - rank) / 151)
    quantiles = dict(result.pixel_quantiles)
    for level in (0.0, 0.5, 0.99, 1.0):
        assert quantiles[level] == np.quantile(pixels, level, method="inverted_cdf")


def test_the_promised_rate_holds_on_further_images():
    rng = np.random.default_rng(0)
    for count, rate in ((20, 0.2), (99, 0.01), (10, 1 / 11)):
        rank = conformal_rank(count, rate)
        draws = np.sort(rng.random((20000, count)), axis=1)
        assert (rng.random(20000) > draws[:, rank - 1]).mean() <= rate * 1.1
    assert conformal_rank(98, 0.01) == 99  # none of the 98 does


def test_few_images_give_the_largest_score_and_say_so():
    normal = scores(20)
    result = calibrated(Calibrator(0.01), normal)
    assert result.image_threshold == normal["image_score"].max()
    assert result.expected_false_alarm_rate == pytest.approx(1 / 21)
    assert result.normal_images == 20


def test_recall_is_that_of_the_synthetic_defects():
    normal, defects = scores(30), scores(12, seed=1, high=0.6)
    result = calibrated(Calibrator(0.1, 0.01), normal, defects)
    found = (defects["image_score"] > result.image_threshold).float().mean()
    assert result.image_recall == pytest.approx(float(found))
    found = (defects["score_map"] > result.pixel_threshold).double().mean()
    assert result.pixel_recall == pytest.approx(float(found))
    assert result.synthetic_defects == 12
    assert calibrated(Calibrator(0.1, 0.01), normal).image_recall is None


def test_dropped_bits_never_raise_the_rate(monkeypatch):
    monkeypatch.setattr(PixelScores, "max_buffered", 1024)
    normal = scores(40)
    for keys, least in ((16, 0.0), (4096, 0.006)):
        monkeypatch.setattr(PixelScores, "max_keys", keys)
        result = calibrated(Calibrator(0.1, 0.01), normal)
        share = (normal["score_map"] > result.pixel_threshold).double().mean()
        assert least <= share <= 0.01


def test_maps_without_any_score():
    flat = {"score_map": torch.zeros(5, 1, 8, 8), "image_score": torch.zeros(5)}
    result = calibrated(Calibrator(), flat)
    assert result.image_threshold == result.pixel_threshold == 0
    full = {name: values + 1 for name, values in flat.items()}
    assert calibrated(Calibrator(), full).pixel_threshold == 1


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ConfigError, match="rate"):
        Calibrator(rate)
    with pytest.raises(ConfigError, match="pixel_rate"):
        Calibrator(0.1, rate)


def test_plain_values_hold_a_calibration_whole():
    result = calibrated(Calibrator(0.1, 0.01), scores(30), scores(12, seed=1))
    values = json.loads(json.dumps(result.to_dict()))
    assert values == result.to_dict()
    assert Calibration.from_dict(values) == result
    assert Calibration.from_dict(values | {"of_a_later_release": 1}) == result
    # As the first release wrote them.
    older = {name: values[name] for name in values if name not in ("precision", "tile")}
    assert Calibration.from_dict(older) == replace(result, precision=None)
    del values["pixel_threshold"]
    with pytest.raises(TypeError, match="pixel_threshold"):
        Calibration.from_dict(values)
