"""Verdicts, regions and pictures at any threshold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from padseg.app.judging import Entry, about, judge, pictures, regions
from padseg.drawing import COLOURS
from padseg.inference.prediction import Prediction


def test_the_threshold_of_the_checkpoint_gives_its_verdicts(predictor, pictures):
    found = predictor(pictures)
    assert {answer.anomalous for answer in found} == {True, False}
    for answer in found:
        judgement = judge(answer)
        assert judgement.anomalous == answer.anomalous
        assert judgement.verdict == ("ANOMALOUS" if answer.anomalous else "NORMAL")
        assert regions(answer, judgement) == answer.regions
        assert judgement.score.endswith(" 0.5000")


@pytest.mark.parametrize("threshold", [0, 0.2, 0.35, 0.6, 0.8, 1])
def test_other_thresholds_compare_normalised_scores(predictor, pictures, threshold):
    for answer in predictor(pictures):
        judgement = judge(answer, threshold)
        assert judgement.anomalous == (answer.score > threshold)
        above = answer.normalised_map > threshold
        near = np.abs(answer.normalised_map - threshold) < 1e-5
        found = regions(answer, judgement)
        if not near.any():
            assert len(found) == ndimage.label(above, np.ones((3, 3)))[1]
            assert sum(region.area for region in found) == above.sum()
        assert all(region.score > threshold - 1e-5 for region in found)
        scores = [region.score for region in found]
        assert scores == sorted(scores, reverse=True)
        assert judgement.colours.levels(np.array([judgement.colours.threshold])) == 0.5


def test_pictures_fit_a_screen_and_colour_what_is_found(predictor):
    small, large = (
        predictor(np.full(shape, 128, np.uint8)) for shape in ((40, 60, 3), (900, 2000))
    )
    for answer, size in ((small, (540, 360)), (large, (1400, 630))):
        everything, nothing = (judge(answer, threshold) for threshold in (0, 1))
        image, plain, _ = pictures(answer, nothing)
        assert image.size == size
        assert plain.tobytes() == image.tobytes()
        _, covered, coloured = pictures(answer, everything)
        assert (np.asarray(covered) != np.asarray(image)).any(axis=-1).mean() > 0.99
        hottest = np.asarray(coloured).reshape(-1, 3).astype(int)
        assert np.abs(hottest - COLOURS[255].astype(int)).sum(axis=1).min() < 200


def spot(height: int = 1000, width: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """A grey image and a map with a spot of four pixels."""
    score_map = np.zeros((height, width), np.float32)
    score_map[501:503, 701:703] = 0.9
    return np.full((height, width, 3), 128, np.uint8), score_map


def test_a_thumbnail_keeps_a_small_defect(make_calibration):
    image, score_map = spot()
    calibration = make_calibration(0.5, 0.5)
    prediction = Prediction(image, score_map, 0.9, 0.95, True, [], calibration)
    thumbnail = np.asarray(Entry.of("part.png", prediction).thumbnail(0.5)).astype(int)
    assert max(thumbnail.shape) < 300
    assert (np.ptp(thumbnail[: -thumbnail.shape[1] // 4], axis=-1) > 60).any()  # not grey
    assert thumbnail[-2, -2].argmax() == 0  # the bar is orange
    normal = replace(prediction, image_score=0.1, score=0.1, anomalous=False)
    thumbnail = np.asarray(Entry.of("part.png", normal).thumbnail(0.5)).astype(int)
    assert thumbnail[-2, -2].argmax() == 2  # blue


def test_without_thresholds_there_are_scores(predictor, pictures, monkeypatch):
    monkeypatch.setattr(predictor.module, "calibration", None)
    answer = predictor(pictures[0])
    judgement = judge(answer, 0.5)
    assert judgement.anomalous is None
    assert judgement.verdict == "NO THRESHOLD"
    assert float(judgement.score) == pytest.approx(answer.image_score, rel=1e-3)
    assert regions(answer, judgement) == []
    assert Entry.of("a.png", answer).thumbnail(0.5).size[0] == 72
    assert "padseg calibrate" in about(predictor, Path("runs/a.ckpt"))


def test_the_title_names_network_and_thresholds(predictor):
    title = about(predictor, Path("/data/runs/destseg/cap/seed0/segment.ckpt"))
    assert (
        title == "destseg/cap/seed0/segment.ckpt (DeSTSeg, 64x64), thresholds from 3 normal images"
    )
