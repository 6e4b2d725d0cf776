"""PCAR and SPR: plain formulas, and limits in which they are something simple."""

import pytest
import torch
from torch import nn

from padseg.errors import ConfigError
from padseg.models.pcar import PCAR, SPR
from tiny import shake


@pytest.mark.parametrize("size", [(8, 6), (9, 7), (1, 3)])
def test_pyramid_is_the_mean_and_the_quarters(size):
    x = torch.randn(2, 4, *size)
    pool = nn.functional.adaptive_avg_pool2d
    expected = torch.cat([pool(x, 1).flatten(1), pool(x, 2).flatten(1)], dim=1)
    torch.testing.assert_close(SPR.describe(x), expected)


def test_pcar_weighs_its_branches():
    block = shake(PCAR(16))
    x = torch.randn(2, 16, 9, 7)
    maps = [branch(x) for branch in block.branches]
    gates = torch.stack([block.spr(SPR.describe(m)) for m in maps])
    weights = gates.exp() / gates.exp().sum(dim=0)
    expected = sum(w[..., None, None] * m for w, m in zip(weights, maps, strict=True))
    torch.testing.assert_close(block(x), expected)


def test_pcar_weights_sum_to_one_within_the_bounds_of_a_softmax_of_sigmoids():
    block = PCAR(16)
    maps = [torch.randn(4, 16, 8, 8) * scale for scale in (0.1, 10, 1000)]
    weights = block.weights(maps)
    assert weights.shape == (3, 4, 16)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(4, 16))
    assert weights.min() >= 1 / (1 + 2 * torch.e) - 1e-6
    assert weights.max() <= torch.e / (torch.e + 2) + 1e-6


def test_pcar_that_weighs_pixels_is_its_formula():
    block = shake(PCAR(16, recalibration="pixel"))
    x = torch.randn(2, 16, 9, 7)
    maps = [branch(x) for branch in block.branches]
    features = [m * block.spr(SPR.describe(m))[..., None, None] for m in maps]
    powers = [f.exp() for f in features]
    expected = sum(f * p for f, p in zip(features, powers, strict=True)) / sum(powers)
    torch.testing.assert_close(block(x), expected)
    plain = PCAR(16)
    plain.load_state_dict(block.state_dict())  # the same parameters
    assert not torch.equal(plain(x), block(x))


def test_pcar_kernels_and_dilations():
    block = PCAR(8, kernels=(1, 5), dilations=(1, 2))
    assert block(torch.randn(2, 8, 9, 7)).shape == (2, 8, 9, 7)
    # One branch: its weight is 1.
    single = shake(PCAR(8, kernels=(3,), dilations=(1,)))
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(single(x), single.branches[0](x))


@pytest.mark.parametrize(
    ("kernels", "dilations"), [((3, 3), (1,)), ((), ()), ((2, 3), (1, 1)), ((3,), (0,))]
)
def test_pcar_refuses_what_does_not_fit(kernels, dilations):
    with pytest.raises(ConfigError, match="kernels"):
        PCAR(8, kernels, dilations)
