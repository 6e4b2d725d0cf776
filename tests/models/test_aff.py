"""AFF: its formula, and its start."""

import pytest
import torch

from padseg.errors import ConfigError
from padseg.models.aff import AFF
from tiny import shake


@pytest.mark.parametrize("training", [True, False])
def test_aff_starts_as_addition_and_learns(training):
    fuse = AFF(8).train(training)
    x, y = torch.randn(2, 8, 5, 4), torch.randn(2, 8, 5, 4)
    out = fuse(x, y)
    torch.testing.assert_close(out, x + y)
    out.square().sum().backward()
    for branch in (fuse.local, fuse.globe):
        assert branch[-1].weight.grad.abs().min() > 0


def test_aff_is_its_formula():
    fuse = shake(AFF(8))
    x, y = torch.randn(2, 8, 5, 4), torch.randn(2, 8, 5, 4)
    total = x + y
    w = torch.sigmoid(fuse.local(total) + fuse.globe(total.mean(dim=(2, 3), keepdim=True)))
    torch.testing.assert_close(fuse(x, y), 2 * x * w + 2 * y * (1 - w))


def test_random_gates_start_as_in_the_authors_code():
    fuse = AFF(8, gates="random")
    x, y = torch.randn(4, 8, 5, 4), torch.randn(4, 8, 5, 4)
    assert all(norm.weight.eq(1).all() for norm in (fuse.local[-1], fuse.globe[-1]))
    w = (fuse(x, y) / 2 - y) / (x - y)
    assert w.min() > 0
    assert w.max() < 1
    assert w.std() > 0.1
    with pytest.raises(ConfigError, match="gates is 'open'; give one of neutral, random"):
        AFF(8, gates="open")
