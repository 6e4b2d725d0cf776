"""ASPP: what its branches see."""

import torch

from padseg.models.aspp import ASPP
from tiny import shake


def test_aspp_sees_the_whole_map_and_its_dilated_surroundings():
    aspp = shake(ASPP(4))
    x = torch.randn(2, 4, 20, 20)
    mean = aspp.pooled(x.mean(dim=(2, 3), keepdim=True)).expand_as(x)
    expected = aspp.fuse(torch.cat([*(conv(x) for conv in aspp.dilated), mean], dim=1))
    torch.testing.assert_close(aspp(x), expected)
    assert [conv[0].dilation[0] for conv in aspp.dilated] == [6, 12, 18]
