"""Tiles against brute force, pixel by pixel."""

from itertools import pairwise

import numpy as np
import pytest

from padseg.inference.tiles import Blend, Box, tile_boxes


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(40, 40, 16), (33, 90, 32), (64, 20, 32), (16, 17, 16)]
)
def test_tiles_cover_the_image_and_overlap(height, width, tile):
    boxes = tile_boxes(height, width, tile)
    covered = np.zeros((height, width), int)
    for box in boxes:
        assert box.right - box.left == min(tile, width)
        assert box.bottom - box.top == min(tile, height)
        assert box.left >= 0
        assert box.right <= width
        covered[box.top : box.bottom, box.left : box.right] += 1
    assert covered.min() >= 1
    lefts = sorted({box.left for box in boxes})
    assert all(right - left <= 0.75 * tile for left, right in pairwise(lefts))


def test_an_image_that_fits_is_one_tile():
    assert tile_boxes(30, 20, None) == tile_boxes(30, 20, 30) == [Box(0, 0, 20, 30)]


def test_blending_equals_brute_force():
    rng = np.random.default_rng(0)
    height, width, tile = 37, 50, 16
    boxes = tile_boxes(height, width, tile)
    maps = [rng.random((tile, tile), np.float32) for _ in boxes]
    blend = Blend(height, width)
    for box, score_map in zip(boxes, maps, strict=True):
        blend.add(box, score_map)
    expected = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            total = weights = 0.0
            for box, score_map in zip(boxes, maps, strict=True):
                y, x = row - box.top, column - box.left
                if 0 <= y < tile and 0 <= x < tile:
                    weight = min(y + 1, tile - y) * min(x + 1, tile - x)
                    total += weight * score_map[y, x]
                    weights += weight
            expected[row, column] = total / weights
    np.testing.assert_allclose(blend.result(), expected, rtol=1e-5)


def test_equal_tiles_leave_no_seam():
    blend = Blend(50, 70)
    for box in tile_boxes(50, 70, 32):
        blend.add(box, np.full((32, 32), 0.3, np.float32))
    np.testing.assert_allclose(blend.result(), 0.3, rtol=1e-6)
