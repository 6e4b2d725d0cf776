"""What holds for every part: parameter counts, memory format, precision, and batches of one."""

import pytest
import torch
from torch import nn

from padseg.errors import ConfigError
from padseg.models import BlockOptions, ResidualBlock
from padseg.models.aff import AFF
from padseg.models.aspp import ASPP
from padseg.models.pcar import PCAR, SPR
from padseg.models.rcm import RCA, RCM
from padseg.models.reconstruction import AttentionMap
from tiny import count_parameters

PA = BlockOptions(fusion="aff", second_conv="pcar")


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (SPR, (1_604, 6_280, 24_848, 98_848)),
        (AFF, (4_576, 17_344, 67_456, 265_984)),
        (PCAR, (112_580, 449_416, 1_795_856, 7_179_808)),
        (RCA, (2_304, 4_608, 9_216, 18_432)),
        (RCM, (19_072, 70_912, 272_896, 1_070_080)),
        (lambda c: ResidualBlock(c, c), (73_984, 295_424, 1_180_672, 4_720_640)),
        (lambda c: ResidualBlock(c, c, options=PA), (154_276, 614_728, 2_454_160, 9_807_136)),
    ],
)
def test_parameters(build, expected):
    with torch.device("meta"):
        assert tuple(count_parameters(build(c)) for c in (64, 128, 256, 512)) == expected


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: ResidualBlock(448, 256), 1_738_240),
        (lambda: ResidualBlock(448, 256, options=PA), 3_011_728),
        (lambda: ASPP(256), 4_196_864),
        (lambda: AttentionMap(256), 590_592),
        (lambda: AttentionMap(512), 2_360_832),
        (lambda: AttentionMap(1024), 9_440_256),
    ],
)
def test_more_parameters(build, expected):
    with torch.device("meta"):
        assert count_parameters(build()) == expected


@pytest.mark.parametrize("build", [AFF, ASPP])
def test_training_on_one_image_is_refused(build):
    module = build(8)
    inputs = [torch.randn(1, 8, 6, 6)] * (2 if build is AFF else 1)
    with pytest.raises(ConfigError, match="batch_size"):
        module(*inputs)
    assert module.eval()(*inputs).shape == (1, 8, 6, 6)


@pytest.mark.parametrize(
    "module",
    [ResidualBlock(8, 12, 2, PA), ResidualBlock(8, 8), RCM(8), ASPP(8), AttentionMap(8)],
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
