"""When a defect of MVTec LOCO counts as found."""

import pytest

from padseg.data.loco import Saturation


@pytest.mark.parametrize(
    ("threshold", "relative", "area", "pixels"),
    [
        (12, False, 40, 12),
        (12, False, 8, 8),
        (0.25, True, 7, 1),  # 1.75, cut off as in MVTec's own evaluation
        (0.25, True, 2, 1),
        (1, True, 9, 9),
    ],
)
def test_pixels_that_suffice(threshold, relative, area, pixels):
    assert Saturation(threshold, relative).pixels(area) == pixels
