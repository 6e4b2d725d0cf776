"""Soft edges against scipy's Gaussian filter."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from padseg.synthesis.edges import edge_taps, soften


def masks(count):
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(size=(count, 40, 56)), (0, 3, 3))
    return torch.from_numpy(noise > 0.03).float()[:, None]


def test_each_mask_is_blurred_by_its_own_sigma():
    sigmas, mask = (0.0, 0.4, 1.0, 1.6), masks(4)
    taps = torch.stack([edge_taps(sigma, 1.6) for sigma in sigmas])
    soft = soften(mask, taps)
    assert torch.equal(soft[0], mask[0])
    for sigma, ours, hard in zip(sigmas[1:], soft[1:], mask[1:], strict=True):
        expected = ndimage.gaussian_filter(hard[0].numpy(), sigma, mode="nearest", truncate=6)
        np.testing.assert_allclose(ours[0], expected, atol=0.01)
        assert 0 <= ours.min() <= ours.max() <= 1


@pytest.mark.parametrize("sigma", [0.0, 0.4, 0.9, 1.6, 3.2])
def test_the_weights_add_up_to_one(sigma):
    taps = edge_taps(sigma, 3.2)
    assert taps.shape == (11,)
    assert taps[0] + 2 * taps[1:].sum() == pytest.approx(1)
    assert (taps.diff() <= 0).all()


def test_same_bits_for_any_split():
    mask, rng = masks(7), np.random.default_rng(2)
    taps = torch.stack([edge_taps(rng.uniform(0, 1.6), 1.6) for _ in range(7)])
    whole = soften(mask, taps)
    for step in (1, 3):
        parts = [slice(n, n + step) for n in range(0, 7, step)]
        assert torch.equal(torch.cat([soften(mask[part], taps[part]) for part in parts]), whole)


def test_a_mask_smaller_than_its_blur():
    soft = soften(torch.eye(3)[None, None], edge_taps(3.0, 3.0)[None])
    assert 0 < soft.min() <= soft.max() < 1
