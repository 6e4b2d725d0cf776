import math

import numpy as np
import pytest
import torch
from noise import pnoise2

from padseg.synthesis import SynthesisParams, draw, lattice_noise_mask, perlin_mask
from padseg.synthesis.lattice_noise import lattice_noise

NOISE = SynthesisParams(backend="noise")
UPRIGHT = (1.0, 0.0)


def rng(*seed):
    return np.random.default_rng(seed)


def test_draw_makes_only_what_this_back_end_needs():
    assert set(draw(rng(0), NOISE)) == {"present", "opacity"}
    both = draw(rng(0), NOISE), draw(rng(0), SynthesisParams())
    assert all(both[0][key] == both[1][key] for key in both[0])


def test_unrotated_noise_is_pnoise2():
    ours = lattice_noise(np.array((3, 200)), (4, 2), UPRIGHT, (24, 40))
    expected = [[pnoise2(3 + y * 4 / 24, 200 + x * 2 / 40) for x in range(40)] for y in range(24)]
    np.testing.assert_allclose(ours, math.sqrt(1.6) * np.array(expected), atol=1e-5)


def test_quarter_turn_is_rot90():
    picture, turned = (
        lattice_noise(np.array((5, 9)), (4, 2), rotation, (32, 32))
        for rotation in (UPRIGHT, (0.0, 1.0))
    )
    np.testing.assert_allclose(turned, np.rot90(picture), atol=1e-5)


def test_mask_is_of_the_generator_alone():
    first, again = (lattice_noise_mask(rng(1, 2), NOISE, (20, 36)) for _ in range(2))
    assert first.shape == (1, 20, 36)
    assert first.dtype == torch.float32
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first, again)
    assert not torch.equal(first, lattice_noise_mask(rng(1, 3), NOISE, (20, 36)))


def test_retries_are_used_until_a_mask_is_not_empty():
    once, more = (
        SynthesisParams(backend="noise", exponents=(0, 0), retries=retries) for retries in (0, 50)
    )
    empty = 0
    for n in range(30):
        first = lattice_noise_mask(rng(2, n), once, (16, 16))
        best = lattice_noise_mask(rng(2, n), more, (16, 16))
        empty += not first.any()
        assert torch.equal(first, best) if first.any() else best.any()
    assert empty > 5  # else this test has tried nothing


@pytest.mark.parametrize("octaves", [1, 2, 6])
def test_fractions_are_comparable(octaves):
    params = SynthesisParams(backend="noise", octaves=octaves)
    masked = torch.stack([lattice_noise_mask(rng(4, n), params, (48, 48)) for n in range(250)])
    masked = masked.mean((1, 2, 3))
    assert masked.mean().item() == pytest.approx(0.049, abs=0.007)
    assert (masked == 0).float().mean().item() < 0.12


@pytest.mark.slow
def test_fractions_beside_those_of_the_other_back_end():
    masked = torch.stack([lattice_noise_mask(rng(5, n), NOISE, (128, 128)) for n in range(1500)])
    params = SynthesisParams()
    other = torch.cat(
        [
            perlin_mask(
                {k: t[None] for k, t in draw(rng(5, n), params).items()}, params, (128,) * 2
            )
            for n in range(1500)
        ]
    )
    ours, theirs = masked.mean((1, 2, 3)), other.mean((1, 2, 3))
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.004)
    assert ours.median().item() == pytest.approx(theirs.median().item(), abs=0.004)
    assert ours.quantile(0.9).item() == pytest.approx(theirs.quantile(0.9).item(), abs=0.01)
