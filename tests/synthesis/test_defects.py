"""Every kind of mask, from the draw of a sample to the corrupted image."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from padseg.synthesis import Scene, SynthesisParams, corrupt, draw_defect
from padseg.synthesis.kinds import MASKS

SIZE = (40, 56)
SCENE = Scene(*np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8), [])


def drawn(params, numbers, foreground=None):
    return default_collate(
        [draw_defect(np.random.default_rng([7, n]), params, SCENE, foreground) for n in numbers]
    )


@pytest.fixture(params=tuple(MASKS))
def params(request) -> SynthesisParams:
    return SynthesisParams(exponents=(2, 4), threshold=0.2, probability=0.8, backend=request.param)


def test_a_sample_is_the_same_in_any_batch(params):
    clean, texture = torch.rand(2, 6, 3, *SIZE)
    whole = corrupt(clean, texture, drawn(params, range(6)), params)
    part = corrupt(clean[2:5], texture[2:5], drawn(params, range(2, 5)), params)
    for ours, theirs in zip(whole, part, strict=True):
        assert torch.equal(ours[2:5], theirs)


def test_the_image_changes_inside_the_mask_alone(params):
    clean, texture = torch.rand(2, 20, 3, *SIZE)
    draws = drawn(params, range(20))
    corrupted, mask = corrupt(clean, texture, draws, params)
    assert mask.shape == (20, 1, *SIZE)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0 < mask.flatten(1).any(1).sum() < 20, "a fifth of the samples has no defect"
    opacity = draws["opacity"][:, None, None, None]
    blended = torch.where(mask > 0, opacity * texture + (1 - opacity) * clean, clean)
    torch.testing.assert_close(corrupted, blended)
    outside = (mask == 0).expand_as(clean)
    assert torch.equal(corrupted[outside], clean[outside])


def test_defects_stay_on_the_foreground_where_they_were(params):
    foreground = torch.zeros(SIZE, dtype=torch.uint8)
    foreground[:, :20] = 1
    clean, texture = torch.rand(2, 10, 3, *SIZE)
    _, anywhere = corrupt(clean, texture, drawn(params, range(10)), params)
    _, kept = corrupt(clean, texture, drawn(params, range(10), foreground), params)
    assert kept.any()
    assert torch.equal(kept, anywhere * foreground)
