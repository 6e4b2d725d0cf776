"""AFF: its formula, and its start."""

import pytest
import torch

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
