"""Students: published parameter counts, initialisation, and shapes at any size."""

from dataclasses import replace

import pytest
import torch
from torchvision.models import resnet18

from padseg.errors import ConfigError
from padseg.models import (
    BlockOptions,
    DenoisingStudent,
    PlainStudent,
    ReconstructionStudent,
    ResidualBlock,
)
from padseg.models.students import Encoder
from tiny import count_parameters

CHANNELS = (64, 128, 256)
PA = BlockOptions(fusion="aff", second_conv="pcar")
SIZES = [(64, 64), (32, 32), (16, 16)]


@pytest.fixture
def meta():
    with torch.device("meta"):
        yield


@pytest.mark.usefixtures("meta")
class TestParameters:
    def test_plain(self):
        assert count_parameters(PlainStudent(CHANNELS)) == 2_782_784
        assert count_parameters(Encoder(64, (64, 128, 256, 512))) == 11_176_512

    def test_destseg(self):
        student = DenoisingStudent(CHANNELS)
        assert count_parameters(student) == 24_665_024
        assert count_parameters(student.encoder) == 11_176_512
        assert count_parameters(student.bottleneck) == 9_441_280
        assert [count_parameters(stage) for stage in student.decoder] == [
            3_082_752,
            771_328,
            193_152,
        ]

    def test_pfadseg(self):
        student = DenoisingStudent(CHANNELS, block=PA)
        assert count_parameters(student) == 51_703_344
        assert count_parameters(student.encoder) == 24_695_672
        assert (
            count_parameters(student.bottleneck) + count_parameters(student.decoder) == 27_007_672
        )

    @pytest.mark.parametrize(
        ("block", "expected"),
        [
            (replace(PA, kernels=(1, 3, 5), dilations=(1, 1, 1)), 62_844_464),
            (replace(PA, kernels=(3, 5, 7), dilations=(1, 1, 1)), 129_691_184),
            (BlockOptions(fusion="aff"), 26_086_464),
            (BlockOptions(second_conv="pcar"), 50_281_904),
        ],
    )
    def test_pfadseg_variants(self, block, expected):
        assert count_parameters(DenoisingStudent(CHANNELS, block=block)) == expected

    @pytest.mark.parametrize(
        ("upsample", "expected"), [("deconv", 101_220_352), ("bilinear", 61_364_992)]
    )
    def test_reconstruction(self, upsample, expected):
        student = ReconstructionStudent(512, (256, 512, 1024), upsample)
        assert count_parameters(student) == expected
        guides = [torch.empty(1, c, *s) for c, s in zip((256, 512, 1024), SIZES, strict=True)]
        outputs = student(torch.empty(1, 512, 8, 8), guides)
        assert [f.shape for f in outputs] == [g.shape for g in guides]

    @pytest.mark.parametrize("block", [BlockOptions(), PA])
    def test_shapes_at_256(self, block):
        student = DenoisingStudent(CHANNELS, block=block)
        outputs = student(torch.empty(2, 3, 256, 256), SIZES)
        assert [tuple(f.shape) for f in outputs] == [
            (2, 64, 64, 64),
            (2, 128, 32, 32),
            (2, 256, 16, 16),
        ]


def test_plain_student_is_a_resnet18_up_to_layer3():
    reference = resnet18().eval()
    student = PlainStudent(CHANNELS).eval()
    weights = [v for k, v in reference.state_dict().items() if not k.startswith(("layer4", "fc"))]
    student.load_state_dict(dict(zip(student.state_dict(), weights, strict=True)))
    x = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        outputs = student(x, [(10, 14), (5, 7), (3, 4)])
        y = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
        for layer, output in zip("123", outputs, strict=True):
            y = getattr(reference, f"layer{layer}")(y)
            torch.testing.assert_close(output, y)


def last_norms(module):
    return {b.bn2.weight.mean().item() for b in module.modules() if isinstance(b, ResidualBlock)}


def test_start_of_the_last_batch_norm():
    plain = DenoisingStudent((8, 16, 32), width=8)
    assert last_norms(plain.encoder) == {0.0}
    assert last_norms(plain.decoder) == last_norms(plain.bottleneck) == {1.0}
    assert last_norms(PlainStudent((8, 16, 32), width=8)) == {1.0}
    attentive = DenoisingStudent((8, 16, 32), width=8, block=PA)
    assert last_norms(attentive.encoder) == {0.0}
    assert last_norms(attentive.decoder) == last_norms(attentive.bottleneck) == {1.0}


def test_random_gates_leave_every_batch_norm_at_one_and_draw_nothing():
    students = []
    for gates in ("neutral", "random"):
        torch.manual_seed(0)
        block = replace(PA, gates=gates)
        students.append(DenoisingStudent((8, 16, 32), width=8, block=block))
    neutral, gated = students
    norms = [part.weight for part in gated.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert all(weight.eq(1).all() for weight in norms)
    theirs = gated.state_dict()
    changed = {k for k, v in neutral.state_dict().items() if not torch.equal(v, theirs[k])}
    assert changed == {
        key
        for key in theirs
        if key.endswith((".local.4.weight", ".globe.4.weight"))
        or (key.startswith("encoder.") and key.endswith(".bn2.weight"))
    }
    # Without attention there are no gates.
    plain = DenoisingStudent((8, 16, 32), width=8, block=BlockOptions(gates="random"))
    assert last_norms(plain.encoder) == {0.0}


def test_convolutions_start_kaiming_normal_with_zero_bias():
    torch.manual_seed(0)
    student = DenoisingStudent((8, 16, 32), width=16, block=PA)
    weight = student.encoder.stages[3][1].conv1.weight  # 128 -> 128
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    biases = [p for n, p in student.named_parameters() if n.endswith("bias") and "bn" not in n]
    assert biases
    assert all(bias.abs().max() == 0 for bias in biases)


def test_denoising_student_has_no_skip_connection():
    student = DenoisingStudent((8, 16, 32), width=8).eval()
    student.bottleneck.register_forward_hook(lambda _m, _i, out: torch.zeros_like(out))
    sizes = [(8, 8), (4, 4), (2, 2)]
    one, other = (student(torch.randn(1, 3, 32, 32), sizes) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("upsample", ["deconv", "bilinear"])
def test_reconstruction_at_odd_sizes_and_all_gates_learn(upsample):
    student = ReconstructionStudent(16, (8, 12, 16), upsample)
    shapes = [(2, 8, 13, 9), (2, 12, 7, 5), (2, 16, 4, 3)]
    guides = [torch.rand(shape) for shape in shapes]
    outputs = student(torch.rand(2, 16, 2, 2), guides)
    assert [tuple(f.shape) for f in outputs] == shapes
    assert all(f.min() >= 0 for f in outputs)
    # Each level's own distance moves its own gate: the gate stands before the stage.
    for output, attention in zip(reversed(outputs), student.attention, strict=True):
        direction = torch.nn.functional.normalize(output, dim=1)[:, :3].sum()
        (gradient,) = torch.autograd.grad(direction, attention.score.weight, retain_graph=True)
        assert gradient.abs().max() > 1e-6


def test_unknown_upsampling():
    with pytest.raises(ConfigError, match="upsample is 'nearest'"):
        ReconstructionStudent(8, (8, 8, 8), "nearest")
