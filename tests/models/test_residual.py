"""The residual block: the block of a ResNet, and its switches."""

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from padseg.errors import ConfigError
from padseg.models import BlockOptions, ResidualBlock
from padseg.models.pcar import PCAR
from tiny import shake

PA = BlockOptions(fusion="aff", second_conv="pcar")


@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(8, 8, 1), (8, 12, 2)])
def test_plain_block_is_the_basic_block_of_a_resnet(c_in, c_out, stride):
    downsample = None
    if stride == 2:
        downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, 2, bias=False), nn.BatchNorm2d(c_out))
    reference = shake(BasicBlock(c_in, c_out, stride, downsample))
    block = ResidualBlock(c_in, c_out, stride).eval()
    named = {k.replace("downsample", "shortcut"): v for k, v in reference.state_dict().items()}
    block.load_state_dict(named)
    x = torch.randn(2, c_in, 9, 7)
    torch.testing.assert_close(block(x), reference(x))


def test_block_with_attention_is_its_formula():
    block = shake(ResidualBlock(8, 12, 2, PA))
    x = torch.randn(2, 8, 9, 7)
    hidden = block.bn1(block.conv1(x)).relu()
    residual = block.bn2(block.conv2(hidden))
    expected = block.fuse(residual, block.shortcut(x)).relu()
    assert isinstance(block.conv2, PCAR)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("option", "value"), [("fusion", "iaff"), ("second_conv", "none")])
def test_unknown_switch(option, value):
    with pytest.raises(ConfigError, match=f"{option} is '{value}'"):
        BlockOptions(**{option: value})
