"""Every kind of mask, from the draw of a sample to the corrupted image."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from padseg.errors import ConfigError
from padseg.synthesis import MaskKind, SynthesisParams, corrupt, draw_defect, register
from padseg.synthesis.kinds import MASK_KINDS
from tiny import tiny_data

SIZE = (40, 56)


def drawn(params, numbers, foreground=None):
    return default_collate(
        [draw_defect(np.random.default_rng([7, n]), params, SIZE, foreground) for n in numbers]
    )


@pytest.fixture(params=["perlin", "noise"])
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


def test_a_kind_from_outside_is_selected_by_its_name(monkeypatch, data_root, textures):
    """Squares of ten pixels: the corner is drawn in the worker, the mask made on the device."""

    def draw(rng, params, size, foreground):
        corner = torch.from_numpy(rng.integers(0, (size[0] - 9, size[1] - 9)))
        return {"opacity": torch.tensor(0.5), "corner": corner}

    def masks(draws, params, size):
        mask = torch.zeros(len(draws["corner"]), 1, *size)
        for one, (row, column) in zip(mask, draws["corner"].tolist(), strict=True):
            one[:, row : row + 10, column : column + 10] = 1
        return mask

    with pytest.raises(ConfigError, match="backend is 'square'; give one of perlin, noise"):
        SynthesisParams(backend="square")
    monkeypatch.setitem(MASK_KINDS, "square", None)  # removes it again after the test
    register(MaskKind("square", draw, masks))
    data = tiny_data(data_root, textures, synthesis=SynthesisParams(backend="square"))
    pairs = data.pairs(0, 5)
    assert pairs["mask"].sum((1, 2, 3)).tolist() == [100.0] * 5
    half = (pairs["clean"] + pairs["texture"]) / 2
    inside = (pairs["mask"] > 0).expand_as(half)
    torch.testing.assert_close(pairs["corrupted"][inside], half[inside])
    assert torch.equal(pairs["corrupted"][~inside], pairs["clean"][~inside])
