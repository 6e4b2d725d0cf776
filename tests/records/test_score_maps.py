"""Score maps as 16-bit pictures."""

import numpy as np

from padseg.records.score_maps import from_grey, to_grey


def test_scores_come_back_within_half_a_level():
    scores = np.random.default_rng(0).random((50, 40), dtype=np.float32)
    grey = to_grey(scores)
    assert grey.dtype == np.uint16
    exact = scores.astype(np.float64) * (2**16 - 1)
    assert np.abs(grey - exact).max() <= 0.5 + 1e-2
    back = from_grey(grey)
    assert back.dtype == np.float32
    assert np.abs(back - scores).max() <= 0.51 / (2**16 - 1)


def test_every_level_comes_back_and_nothing_wraps_around():
    levels = np.arange(2**16, dtype=np.uint16)
    assert (to_grey(from_grey(levels)) == levels).all()
    beyond = np.float32([-0.1, 0.0, 1.0, 1.1])
    assert to_grey(beyond).tolist() == [0, 0, 2**16 - 1, 2**16 - 1]
