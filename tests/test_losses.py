"""Losses against numbers worked out by hand."""

import math

import pytest
import torch

from padseg.errors import ConfigError
from padseg.losses import (
    cosine_distance,
    distillation_loss,
    focal_loss,
    normalized_product,
    resize_mask,
    segmentation_loss,
)

SHAPES = [(3, 8, 8, 6), (3, 16, 4, 3), (3, 32, 2, 2)]


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for shape in SHAPES]


def orthogonal():
    """Two features that share no channel."""
    even = [torch.zeros(shape) for shape in SHAPES]
    odd = [torch.zeros(shape) for shape in SHAPES]
    for e, o in zip(even, odd, strict=True):
        e[:, ::2], o[:, 1::2] = 2.0, 3.0
    return even, odd


def test_cosine_distance_agrees_with_torch():
    t, s = features(0)[0], features(1)[0]
    distance = cosine_distance(t, s)
    assert distance.shape == (3, 8, 6)
    torch.testing.assert_close(distance, 1 - torch.nn.functional.cosine_similarity(t, s))
    torch.testing.assert_close(distance, 1 - normalized_product(t, s).sum(dim=1))


def test_cosine_distance_is_half_the_squared_distance_of_unit_vectors():
    t, s = features(0)[0], features(1)[0]
    squared = (t / t.norm(dim=1, keepdim=True) - s / s.norm(dim=1, keepdim=True)).square().sum(1)
    torch.testing.assert_close(cosine_distance(t, s), squared / 2)


def test_opposed_features_still_learn():
    t = torch.rand(2, 8, 4, 4)
    s = (-t + 0.1 * torch.rand_like(t)).requires_grad_()
    loss = distillation_loss([([t], [s])])
    assert 2 < loss <= 4  # more than 1 an image
    loss.backward()
    assert (s.grad != 0).all()


def test_cosine_distance_stays_in_range():
    t = features()[0]
    assert cosine_distance(t, t).min() >= 0
    assert cosine_distance(t, -t).max() <= 1


def test_zero_feature_is_at_distance_one_and_has_finite_gradients():
    s = torch.zeros(2, 8, 4, 4, requires_grad=True)
    distance = cosine_distance(torch.rand(2, 8, 4, 4), torch.relu(s))
    assert torch.equal(distance, torch.ones(2, 4, 4))
    distance.sum().backward()
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_distances_are_float32_inside_autocast(dtype):
    t, s = (x.to(dtype) for x in (features(0)[0], features(1)[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = cosine_distance(t, s)
        product = normalized_product(t, s)
    assert inside.dtype == product.dtype == torch.float32
    assert torch.equal(inside, cosine_distance(t, s))


def test_one_channel_gate_cancels():
    t, s = features(0)[0], features(1)[0]
    gate = torch.rand(3, 1, 8, 6) + 0.1
    torch.testing.assert_close(normalized_product(t, s * gate), normalized_product(t, s))
    gate.requires_grad_()
    cosine_distance(t, s * gate).sum().backward()
    assert gate.grad.abs().max() < 1e-5


def test_identical_features_cost_nothing():
    t = features()
    assert distillation_loss([(t, t)]).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("reduction", "scale", "expected"), [("batch_sum", 1.0, 9.0), ("mean", 2.0, 6.0)]
)
def test_orthogonal_features(reduction, scale, expected):
    pair = orthogonal()
    assert distillation_loss([pair], reduction, scale).item() == pytest.approx(expected)
    assert distillation_loss([pair, pair], reduction, scale).item() == pytest.approx(2 * expected)


def test_unknown_reduction():
    with pytest.raises(ConfigError, match="'sum'"):
        distillation_loss([(features(), features())], "sum")


def test_undecided_map():
    logits, mask = torch.zeros(2, 1, 8, 8), torch.rand(2, 1, 8, 8) > 0.5
    assert focal_loss(logits, mask.float()).item() == pytest.approx(math.log(2) / 16)
    assert segmentation_loss(logits, mask).item() == pytest.approx(0.5433217)
    assert segmentation_loss(logits, mask, focal_weight=0, l1_weight=3).item() == pytest.approx(1.5)


def test_confident_map():
    logits = torch.full((1, 1, 4, 4), math.log(9))  # p = 0.9
    loss = focal_loss(logits, torch.ones(1, 1, 4, 4))
    assert loss.item() == pytest.approx(1.0536e-5, rel=1e-4)


@pytest.mark.parametrize("size", [100.0, 1e4])
def test_perfect_and_opposite_maps_are_finite(size):
    mask = (torch.rand(1, 1, 8, 8) > 0.5).float()
    logits = ((2 * mask - 1) * size).requires_grad_()
    assert segmentation_loss(logits, mask).item() == pytest.approx(0, abs=1e-6)
    loss = segmentation_loss(-logits, mask)
    loss.backward()
    assert loss.item() == pytest.approx(size + 1)
    assert torch.isfinite(logits.grad).all()


def test_segmentation_loss_in_bfloat16_autocast():
    logits, mask = torch.randn(2, 1, 8, 8), torch.rand(2, 1, 8, 8) > 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = segmentation_loss(logits, mask)
    assert loss.dtype == torch.float32
    assert loss == segmentation_loss(logits, mask)


def test_mask_is_resized_without_antialias():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 1:3, 1:3] = 1  # each of its pixels is a quarter of another window of 2x2
    assert resize_mask(mask, (4, 4)).sum() == 0
    mask[..., 1:3, 1:4] = 1  # window (0, 1) and (1, 1) are now half covered
    expected = torch.zeros(1, 1, 4, 4)
    expected[..., :2, 1] = 1
    assert torch.equal(resize_mask(mask, (4, 4)), expected)
    # At a quarter of the size only the two middle pixels of a window count.
    lone = torch.zeros(1, 1, 8, 8)
    lone[..., 1:3, 1:3] = 1
    assert resize_mask(lone, (2, 2)).flatten().tolist() == [1, 0, 0, 0]
    assert resize_mask(mask.bool(), (8, 8)).dtype == torch.float32
