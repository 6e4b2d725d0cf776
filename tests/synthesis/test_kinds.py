"""Kinds of masks from outside the package."""

import pytest
import torch

from padseg.errors import ConfigError
from padseg.synthesis import MaskKind, SynthesisParams, register
from padseg.synthesis.kinds import MASKS
from tiny import tiny_data


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

    with pytest.raises(ConfigError, match="backend is 'square'; give one of perlin, noise, mixed"):
        SynthesisParams(backend="square")
    monkeypatch.setitem(MASKS, "square", None)  # removes it again after the test
    register("square", MaskKind(draw, masks))
    data = tiny_data(data_root, textures, synthesis=SynthesisParams(backend="square"))
    pairs = data.pairs(0, 5)
    assert pairs["mask"].sum((1, 2, 3)).tolist() == [100.0] * 5
    half = (pairs["clean"] + pairs["texture"]) / 2
    inside = (pairs["mask"] > 0).expand_as(half)
    torch.testing.assert_close(pairs["corrupted"][inside], half[inside])
    assert torch.equal(pairs["corrupted"][~inside], pairs["clean"][~inside])


def test_the_name_of_the_mixture_is_refused():
    with pytest.raises(
        ConfigError, match=r"'mixed' is the mixture of shapes and fills: register your kind"
    ):
        register("mixed", MASKS["perlin"])
    assert "mixed" not in MASKS
