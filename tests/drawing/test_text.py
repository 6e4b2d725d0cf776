"""Scores as text: digits, and differences that stay visible."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from padseg.drawing import comparison, score_text, score_words
from padseg.drawing.text import write


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.5, "0.5000"), (0.0021344, "0.002134"), (1.0, "1.000"), (1.2345e-5, "1.234e-05")],
)
def test_scores_have_four_digits(score, text):
    assert score_text(score) == text


@pytest.mark.parametrize(
    ("score", "threshold", "text"),
    [
        (0.8312, 0.5, "0.8312 > 0.5000"),
        (0.5, 0.5, "0.5000 <= 0.5000"),
        (0.0024444, 0.0024441, "0.00244440 > 0.00244410"),
        (np.nextafter(np.float32(0.5), np.float32(1)), 0.5, "0.500000060 > 0.500000000"),
    ],
)
def test_a_comparison_shows_which_is_higher(score, threshold, text):
    assert comparison(float(score), threshold) == text


def test_a_line_keeps_to_its_width():
    for width in (300, 100, 40):
        picture = Image.new("L", (400, 40))
        used = write(
            ImageDraw.Draw(picture), (10, 20), "a rather long line of text", 24, "white", width
        )
        columns = np.flatnonzero(np.asarray(picture).any(axis=0))
        assert used <= width
        assert columns[0] >= 9
        assert columns[-1] <= 10 + width


def test_a_score_stands_beside_its_threshold_if_there_is_one():
    assert score_words(0.25, None) == "0.2500"
    assert score_words(0.25, 0.75) == "0.7500 > 0.5000"
    assert score_words(0.25, 0.75, 0.8) == "0.7500 <= 0.8000"
