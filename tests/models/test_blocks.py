"""Blocks: parameter counts, special cases that reduce to something simple, and plain formulas."""

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from padseg.errors import ConfigError
from padseg.models.attention import AFF, PCAR, SPR
from padseg.models.blocks import ASPP, RCA, RCM, AttentionMap, ResidualBlock

PA = {"fusion": "aff", "second_conv": "pcar"}


def count(module):
    return sum(p.numel() for p in module.parameters())


def shake(module, seed=0):
    """Give batch norms statistics and weights that are not those of the start."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.state_dict().values():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand(value.shape, generator=generator) * 0.5 + 0.1)
    return module.eval()


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (SPR, (1_604, 6_280, 24_848, 98_848)),
        (AFF, (4_576, 17_344, 67_456, 265_984)),
        (PCAR, (112_580, 449_416, 1_795_856, 7_179_808)),
        (RCA, (2_304, 4_608, 9_216, 18_432)),
        (RCM, (19_072, 70_912, 272_896, 1_070_080)),
        (lambda c: ResidualBlock(c, c), (73_984, 295_424, 1_180_672, 4_720_640)),
        (lambda c: ResidualBlock(c, c, **PA), (154_276, 614_728, 2_454_160, 9_807_136)),
    ],
)
def test_parameters(build, expected):
    with torch.device("meta"):
        assert tuple(count(build(c)) for c in (64, 128, 256, 512)) == expected


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: ResidualBlock(448, 256), 1_738_240),
        (lambda: ResidualBlock(448, 256, **PA), 3_011_728),
        (lambda: ASPP(256), 4_196_864),
        (lambda: AttentionMap(256), 590_592),
        (lambda: AttentionMap(512), 2_360_832),
        (lambda: AttentionMap(1024), 9_440_256),
    ],
)
def test_more_parameters(build, expected):
    with torch.device("meta"):
        assert count(build()) == expected


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


def test_block_with_attention_is_its_formula():
    block = shake(ResidualBlock(8, 12, 2, **PA))
    x = torch.randn(2, 8, 9, 7)
    hidden = block.bn1(block.conv1(x)).relu()
    residual = block.bn2(block.conv2(hidden))
    expected = block.fuse(residual, block.shortcut(x)).relu()
    assert isinstance(block.conv2, PCAR)
    torch.testing.assert_close(block(x), expected)


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


def test_aspp_sees_the_whole_map_and_its_dilated_surroundings():
    aspp = shake(ASPP(4))
    x = torch.randn(2, 4, 20, 20)
    mean = aspp.pooled(x.mean(dim=(2, 3), keepdim=True)).expand_as(x)
    expected = aspp.fuse(torch.cat([*(conv(x) for conv in aspp.dilated), mean], dim=1))
    torch.testing.assert_close(aspp(x), expected)
    assert [conv[0].dilation[0] for conv in aspp.dilated] == [6, 12, 18]


@pytest.mark.parametrize("build", [AFF, ASPP])
def test_training_on_one_image_is_refused(build):
    module = build(8)
    inputs = [torch.randn(1, 8, 6, 6)] * (2 if build is AFF else 1)
    with pytest.raises(ConfigError, match="batch_size"):
        module(*inputs)
    assert module.eval()(*inputs).shape == (1, 8, 6, 6)


@pytest.mark.parametrize(("option", "value"), [("fusion", "iaff"), ("second_conv", "none")])
def test_unknown_switch(option, value):
    with pytest.raises(ConfigError, match=f"{option} is '{value}'"):
        ResidualBlock(8, 8, **{option: value})


@pytest.mark.parametrize(
    "module",
    [ResidualBlock(8, 12, 2, **PA), ResidualBlock(8, 8), RCM(8), ASPP(8), AttentionMap(8)],
    ids=lambda m: type(m).__name__,
)
def test_channels_last_stays_in_every_convolution(module):
    def check(part, inputs):
        assert inputs[0].is_contiguous(memory_format=torch.channels_last), part

    module = module.to(memory_format=torch.channels_last)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_pre_hook(check)
    x = torch.randn(2, 8, 10, 7).to(memory_format=torch.channels_last)
    assert module(x).is_contiguous(memory_format=torch.channels_last)


def test_global_branches_keep_full_precision_in_autocast():
    """Pooled values are few and decide over whole channels; two images may differ by a rounding only."""
    seen = {}
    modules = nn.ModuleDict({"aff": AFF(8), "pcar": PCAR(8), "aspp": ASPP(8)})
    watched = {
        "aff": modules["aff"].globe[0],
        "pcar": modules["pcar"].spr.squeeze,
        "aspp": modules["aspp"].pooled[0],
    }
    for name, part in watched.items():
        part.register_forward_hook(lambda _m, given, out, n=name: seen.update({n: (*given, out)}))
    x = torch.randn(2, 8, 6, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outs = [modules["aff"](x, x), modules["pcar"](x), modules["aspp"](x)]
    assert set(seen) == set(watched)
    assert all(out.dtype == torch.float32 for _, out in seen.values())
    assert [out.dtype for out in outs[1:]] == [torch.bfloat16] * 2
    mean = x.float().mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(seen["aff"][0], 2 * mean)
    torch.testing.assert_close(seen["aspp"][0], mean)
