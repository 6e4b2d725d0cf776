"""The segmentation network: published parameter counts, its input, its two parts."""

from dataclasses import replace

import pytest
import torch

from padseg.errors import ConfigError
from padseg.models import BlockOptions, FeaturePair, SegmentationNetwork, SegmentationOptions
from tiny import count_parameters

PA = BlockOptions(fusion="aff", second_conv="pcar")
PFADSEG = SegmentationOptions(block=PA, context="rcm")


def pair(channels=(8, 16, 32), sizes=((13, 9), (7, 5), (4, 3)), batch=2):
    shapes = [(batch, c, *s) for c, s in zip(channels, sizes, strict=True)]
    return FeaturePair([torch.rand(s) for s in shapes], [torch.rand(s) for s in shapes])


def test_destseg_parameters_and_shape():
    with torch.device("meta"):
        network = SegmentationNetwork()
        sizes = ((64, 64), (32, 32), (16, 16))
        assert network(pair((64, 128, 256), sizes)).shape == (2, 1, 64, 64)
    assert count_parameters(network) == 7_706_369
    assert count_parameters(network.res) == 2_918_912
    assert count_parameters(network.head) == 4_787_457
    assert count_parameters(network.head.context) == 4_196_864
    assert count_parameters(network.head.out) == 590_593


def test_pfadseg_parameters():
    with torch.device("meta"):
        network = SegmentationNetwork(options=PFADSEG)
    assert count_parameters(network) == 6_329_377
    assert count_parameters(network.res) == 5_465_888
    assert count_parameters(network.head.context) == 272_896
    assert count_parameters(network.head.out) == 590_593


@pytest.mark.parametrize(("kernels", "expected"), [((1, 3, 5), 7_377_953), ((3, 5, 7), 13_669_409)])
def test_pfadseg_parameters_of_other_kernels(kernels, expected):
    with torch.device("meta"):
        block = replace(PA, kernels=kernels, dilations=(1, 1, 1))
        network = SegmentationNetwork(options=replace(PFADSEG, block=block))
    assert count_parameters(network) == expected


@pytest.mark.parametrize("options", [SegmentationOptions(), PFADSEG])
def test_logits(options):
    network = SegmentationNetwork((8, 16, 32), replace(options, width=16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(pair())
    assert logits.shape == (2, 1, 13, 9)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())  # not rounded, nor tied
    assert logits.min() < 0 or logits.max() > 1  # no sigmoid
    assert torch.isfinite(logits).all()


def test_input_is_the_negative_product_of_the_normalised_features():
    network = SegmentationNetwork((4, 8), SegmentationOptions(width=16)).eval()
    seen = []
    network.res.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    features = pair((4, 8), ((6, 4), (3, 2)))
    network(FeaturePair(features.teacher, features.teacher))
    fine = torch.nn.functional.normalize(features.teacher[0], dim=1)
    torch.testing.assert_close(seen[0][:, :4], -fine.square())
    # One level's channels of equal features sum to -1 at every pixel, interpolated or not.
    torch.testing.assert_close(seen[0][:, 4:].sum(dim=1), -torch.ones(2, 6, 4))


def test_head_keeps_pytorchs_start_and_res_is_kaiming_normal():
    torch.manual_seed(0)
    network = SegmentationNetwork((8, 16, 32), SegmentationOptions(width=64))
    out = network.head.out[0][0].weight  # uniform within sqrt(1 / fan_in)
    assert out.abs().max() <= (1 / (64 * 9)) ** 0.5
    res = network.res[1].conv1.weight
    assert res.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert (network.res[1].bn2.weight == 1).all()


def test_layer_scale_reaches_the_module():
    network = SegmentationNetwork(
        (8,), SegmentationOptions(width=8, context="rcm", layer_scale=1e-6)
    )
    assert network.head.context.layer_scale.max().item() == pytest.approx(1e-6)


def test_unknown_context():
    with pytest.raises(ConfigError, match="context is 'ppm'"):
        SegmentationOptions(context="ppm")
