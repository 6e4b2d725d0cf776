"""Each shape of a defect against what its docstring promises, measured with scipy."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from padseg.synthesis.shapes import SHAPES, draw_band, draw_blob, draw_line, draw_spot, draw_zone

SIZE = (256, 256)
EIGHT = np.ones((3, 3))


def masks(shape, count=60, size=SIZE):
    return [shape(np.random.default_rng([5, n]), size) for n in range(count)]


def regions(mask):
    return ndimage.label(mask, EIGHT)[1]


def thickness(mask):
    """Diameter of the largest disc that fits, in pixels."""
    padded = np.pad(mask, 1)
    return 2 * cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max() - 1


def edge(mask):
    """Pixels of the mask that have a neighbour outside it."""
    return mask.astype(bool) & ~ndimage.binary_erosion(mask, EIGHT, border_value=1)


def box_share(mask):
    """Area of the mask over that of the smallest box around it."""
    rows, columns = np.nonzero(mask)
    sides = cv2.minAreaRect(np.stack([columns, rows], 1).astype(np.float32))[1]
    return mask.sum() / np.prod(np.add(sides, 1))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [(64, 96), (33, 20), (256, 256)])
def test_any_shape_at_any_size(name, size):
    for mask in masks(SHAPES[name], 20, size):
        assert mask.shape == size
        assert mask.dtype == np.uint8
        assert mask.max(initial=0) <= 1


@pytest.mark.parametrize("name", SHAPES)
def test_a_mask_is_of_its_generator_alone(name):
    first, again = masks(SHAPES[name], 8), masks(SHAPES[name], 8)
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    found = [mask.tobytes() for mask in first if mask.any()]
    assert len(set(found)) == len(found) > 4


@pytest.mark.parametrize("name", SHAPES)
def test_defects_lie_all_over_the_image(name):
    cover = np.mean(masks(SHAPES[name], 600, (64, 64)), axis=0)
    blocks = cover.reshape(8, 8, 8, 8).mean((1, 3))
    blocks[2:-2, 2:-2] += name == "zone"  # which leaves the middle free
    assert blocks.min() > 0
    # No side is preferred.
    sides = [cover[:16].mean(), cover[-16:].mean(), cover[:, :16].mean(), cover[:, -16:].mean()]
    assert max(sides) < 1.35 * min(sides)


def test_lines_are_thin_and_long():
    drawn = masks(draw_line)
    assert all(regions(mask) <= 2 for mask in drawn)
    widths = np.array([thickness(mask) for mask in drawn if mask.any()])
    assert widths.min() == 1
    assert widths.max() <= 11  # 5 pixels, twice that where two segments lie side by side
    assert 3 <= np.median(widths) <= 5
    assert np.median([mask.sum() for mask in drawn] / widths.mean()) > 60  # their length
    shares = [box_share(mask) for mask in drawn]
    assert max(shares) > 0.5  # a straight one
    assert min(shares) < 0.1


def test_spots_are_small_round_and_few():
    drawn = masks(draw_spot, 100)
    counts = [regions(mask) for mask in drawn]
    assert set(counts) == {1, 2, 3, 4} | ({0} & set(counts))
    widths = np.array([thickness(mask) for mask in drawn if mask.any()])
    assert widths.min() < 5
    assert 20 < np.quantile(widths, 0.9) <= 2 * 14 + 1  # more where two overlap
    for mask in drawn:
        labels, count = ndimage.label(mask, EIGHT)
        for number, part in enumerate(ndimage.find_objects(labels), 1):
            inner = all(s.start > 0 and s.stop < 256 for s in part)
            region = labels == number
            if inner and count == 1 and region.sum() > 150:
                assert box_share(region) == pytest.approx(np.pi / 4, abs=0.09)  # of an ellipse


def test_radii_of_spots_and_widths_of_lines_are_spread_as_said():
    small = []
    for mask in masks(draw_spot, 250):
        labels, count = ndimage.label(mask, EIGHT)
        spots = [(labels == number).astype(np.uint8) for number in range(1, count + 1)]
        small += [thickness(spot) < 2 * 4.6 for spot in spots]
    assert np.mean(small) == pytest.approx(0.5, abs=0.08)  # 4.6 is in the middle of the logarithms
    widths = [thickness(mask) for mask in masks(draw_line, 200) if mask.any()]
    assert np.mean(np.array(widths) >= 6) > 0.1  # up to 5 pixels, and those of a corner


def test_blobs_are_whole_and_of_middle_size():
    drawn = masks(draw_blob, 100)
    assert all(regions(mask) <= 1 for mask in drawn)
    areas = np.array([mask.mean() for mask in drawn])
    assert 0.005 < np.median(areas) < 0.1
    assert areas.max() < np.pi * (0.3 * 1.2) ** 2
    shares = [box_share(mask) for mask in drawn if mask.sum() > 200]
    assert 0.3 < np.median(shares) < 0.75  # neither boxes nor threads


def test_bands_are_boxes_that_lie_nearly_straight():
    drawn = [mask for mask in masks(draw_band, 100) if mask[2:-2, 2:-2].any()]
    upright = []
    for mask in drawn:
        assert regions(mask) == 1
        whole = not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        if whole:
            assert box_share(mask) > 0.9
            rows, columns = np.nonzero(mask)
            upright.append(np.ptp(rows) > np.ptp(columns))
    assert np.mean(upright) == pytest.approx(0.5, abs=0.2)
    areas = np.array([mask.mean() for mask in drawn])
    assert areas.max() <= 0.36
    assert 0.02 < np.median(areas) < 0.12


def test_zones_end_at_the_border_and_leave_the_centre():
    drawn = masks(draw_zone, 100)
    areas = np.array([mask.mean() for mask in drawn])
    assert all(mask[126:130, 126:130].sum() == 0 for mask in drawn)
    assert areas.max() < 0.45
    assert 0.05 < np.median(areas) < 0.25
    for mask in drawn:
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        if mask.any():
            assert border.any()
            assert regions(mask) <= 2  # a wave may cut a corner off
    long = [mask for mask in drawn if mask.mean() > 0.1]
    assert len(long) > 40
    assert np.median([edge(mask).sum() for mask in long]) > 150


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_grow_with_the_image(name):
    small, large = (
        np.mean([mask.mean() for mask in masks(SHAPES[name], 200, (side, side))])
        for side in (96, 288)
    )
    assert small == pytest.approx(large, rel=0.2)
