"""RCM: the formula of its attention, and its start."""

import pytest
import torch

from padseg.models.rcm import RCA, RCM
from tiny import shake


def test_rcm_at_zero_scale_is_the_identity():
    x = torch.randn(2, 16, 9, 7)
    assert torch.equal(RCM(16, layer_scale=0)(x), x)
    assert not torch.allclose(RCM(16)(x), x)
    assert RCM(16, layer_scale=1e-6).layer_scale.tolist() == pytest.approx([1e-6] * 16)


def test_rca_is_its_formula():
    rca = shake(RCA(4))
    x = torch.randn(2, 4, 15, 13)
    bands = x.mean(3, keepdim=True).expand_as(x) + x.mean(2, keepdim=True).expand_as(x)
    gate = rca.column(rca.bn(rca.row(bands)).relu()).sigmoid()
    torch.testing.assert_close(rca(x), gate * rca.local(x))
