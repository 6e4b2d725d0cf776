"""Contours lie around regions, grow with the image, and do not depend on bands."""

import numpy as np
import pytest
from scipy import ndimage

from padseg.drawing.contour import line_width, outline


def test_the_outline_lies_around_the_region():
    image = np.full((9, 9, 3), 100, np.uint8)
    region = np.zeros((9, 9), dtype=bool)
    region[4, 4] = True
    drawn = outline(image, region)
    assert (image == 100).all()
    expected = np.full((9, 9), 100)
    expected[2:7, 2:7] = 0
    expected[[2, 2, 6, 6], [2, 6, 2, 6]] = 100
    expected[3:6, 3:6] = 255
    expected[4, 4] = 100
    assert (drawn == expected[..., None]).all()


@pytest.mark.parametrize(
    ("shape", "width"),
    [((64, 64), 1), ((640, 100), 2), ((2000, 3000), 9), ((64, 9000), 1), ((1200, 200), 3)],
)
def test_lines_are_as_wide_as_the_image_is_large(shape, width):
    assert line_width(shape) == width
    image = np.full((*shape, 3), 100, np.uint8)
    region = np.zeros(shape, dtype=bool)
    region[30:34, 20:40] = True
    drawn = outline(image, region)[..., 0]
    assert (drawn[region] == 100).all()
    row = drawn[34:, 30]
    assert (row[:width] == 255).all()
    assert (row[width : 2 * width] == 0).all()
    assert (row[2 * width :] == 100).all()


@pytest.mark.parametrize("side", [60, 700])
def test_the_outline_follows_the_distance_from_the_region(side, monkeypatch):
    rng = np.random.default_rng(0)
    image = np.full((side, side, 3), 100, np.uint8)
    region = ndimage.gaussian_filter(rng.random((side, side)), 6) > 0.51
    drawn, width = outline(image, region)[..., 0], line_width(image.shape)
    distance = ndimage.distance_transform_edt(~region)
    # OpenCV's distances are off by some hundredths.
    for value, low, high in ((255, 0.1, width + 0.4), (0, width + 0.6, 2 * width + 0.4)):
        assert (drawn[(distance > low) & (distance < high)] == value).all()
    assert (drawn[(distance == 0) | (distance > 2 * width + 0.6)] == 100).all()
    monkeypatch.setattr("padseg.drawing.contour._BAND", side * 7)
    assert np.array_equal(outline(image, region)[..., 0], drawn)


def test_nothing_is_drawn_around_nothing():
    image = np.full((9, 9, 3), 100, np.uint8)
    assert (outline(image, np.zeros((9, 9), dtype=bool)) == image).all()
    assert (outline(image, np.ones((9, 9), dtype=bool)) == image).all()
