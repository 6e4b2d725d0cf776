"""Whole systems with small teachers and students, from images to maps."""

import pytest
import torch

from padseg.errors import CheckpointError, ConfigError
from padseg.losses import cosine_distance, distillation_loss, segmentation_loss
from padseg.models import (
    SYSTEMS,
    FeaturePair,
    NetworkOptions,
    build_segmentation,
    build_student_teacher,
    image_score,
)
from tiny import count_parameters, fill_memory, tiny_network

BY_GRADIENTS = [name for name, system in SYSTEMS.items() if not system.memory]
TWO_PHASES = [name for name in BY_GRADIENTS if SYSTEMS[name].segmentation]
SWITCHES_OFF = {"fusion": "add", "second_conv": "conv"}


def build(system, **options):
    torch.manual_seed(0)
    given = tiny_network(system, **options)
    weights = {name: given.pop(name) for name in ("weights", "weights2") if name in given}
    return build_student_teacher(NetworkOptions(system, **given), **weights)


def students(model):
    return [part for name, part in model.named_children() if name.startswith("student")]


@pytest.mark.parametrize("size", [(72, 40), (40, 104)])
@pytest.mark.parametrize("system", SYSTEMS)
def test_small_systems_at_odd_sizes(system, size):
    model = build(system).eval()
    clean, corrupted = torch.rand(2, 2, 3, *size)
    fill_memory(model, torch.rand(3, 3, *size))
    with torch.no_grad():
        pairs = model(clean, corrupted)
        score_map = SYSTEMS[system].distance_map(pairs, size)
    assert len(pairs) == len(SYSTEMS[system].teachers)
    for pair in pairs:
        assert [f.shape for f in pair.teacher] == [f.shape for f in pair.student]
        own = [32, 48, 48, 192] if SYSTEMS[system].memory else [32, 48, 192]
        assert [f.shape[1] for f in pair.teacher] == own
    assert pairs[0].teacher[0].shape[-2:] == (size[0] // 4, size[1] // 4)
    assert score_map.shape == (2, 1, *size)
    assert score_map.dtype == torch.float32
    assert 0 <= score_map.min() < score_map.max() <= 1


@pytest.mark.parametrize("name", ["resnet34", "wide_resnet50_2"])
def test_larger_backbones(name):
    with torch.device("meta"):
        options = NetworkOptions("destseg", teacher=name)
        model = build_student_teacher(options, weights="random").eval()
        (pair,) = model(torch.empty(1, 3, 256, 256))
        logits = build_segmentation(NetworkOptions("pfadseg"), model.channels).eval()(pair)
    assert [f.shape for f in pair.teacher] == [f.shape for f in pair.student]
    wide = 4 if name.startswith("wide") else 1
    assert model.teacher.channels == (64 * wide, 128 * wide, 256 * wide)
    assert logits.shape == (1, 1, 64, 64)


def test_whole_sizes_of_the_papers():
    with torch.device("meta"):
        options = {name: NetworkOptions(name) for name in ("destseg", "pfadseg")}
        built = {n: build_student_teacher(o, weights="random") for n, o in options.items()}
        heads = {n: build_segmentation(options[n], m.channels) for n, m in built.items()}
        rstpm = build_student_teacher(NetworkOptions("rstpm"), weights="random", weights2="random")
    assert count_parameters(built["destseg"], heads["destseg"]) == 35_154_177
    assert count_parameters(built["pfadseg"], heads["pfadseg"]) == 60_815_505
    assert count_parameters(rstpm.teacher) == 11_176_512
    assert count_parameters(rstpm.teacher2) == 8_543_296
    assert count_parameters(rstpm.student2) == 101_220_352


def test_all_switches_off_is_destseg():
    destseg, off = build("destseg").eval(), build("pfadseg", **SWITCHES_OFF).eval()
    image = torch.rand(2, 3, 40, 40)
    state = destseg.state_dict()
    assert list(state) == list(off.state_dict())
    # The same draws in the same order, so that even the start is the same.
    assert all(torch.equal(value, state[key]) for key, value in off.state_dict().items())
    networks = []
    for name, switches, context in (("destseg", {}, None), ("pfadseg", SWITCHES_OFF, "aspp")):
        torch.manual_seed(1)
        options = NetworkOptions(name, **switches)
        network = build_segmentation(options, (32, 48, 192), width=16, context=context)
        networks.append(network.eval())
    assert list(networks[0].state_dict()) == list(networks[1].state_dict())
    with torch.no_grad():
        logits = [n(m(image)[0]) for n, m in zip(networks, (destseg, off), strict=True)]
    assert torch.equal(*logits)


@pytest.mark.parametrize("option", [{}, {"fusion": "add"}, {"second_conv": "conv"}])
def test_single_switches_change_the_student(option):
    keys = build("pfadseg", **option).student.state_dict().keys()
    assert any(".fuse." in key for key in keys) == ("fusion" not in option)
    assert any(".spr." in key for key in keys) == ("second_conv" not in option)


@pytest.mark.parametrize("system", BY_GRADIENTS)
def test_gradients_reach_only_the_students(system):
    model = build(system).train()
    distillation_loss(model(torch.rand(2, 3, 32, 32))).backward()
    learning = {id(p) for student in students(model) for p in student.parameters()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in learning), name


@pytest.mark.parametrize("system", SYSTEMS)
def test_training_leaves_the_teacher_as_it_is(system):
    model = build(system).train()
    before = model.fingerprint()
    assert not model.teacher.training
    assert model.student.training
    model(torch.rand(2, 3, 40, 40))
    assert model.fingerprint() == before


def test_teachers_see_clean_and_students_corrupted_images():
    clean, corrupted = torch.rand(2, 1, 3, 32, 32)
    model = build("destseg").eval()
    with torch.no_grad():
        mixed, plain, other = (
            run[0] for run in (model(clean, corrupted), model(clean), model(corrupted))
        )
    assert torch.equal(mixed.teacher[0], plain.teacher[0])
    assert torch.equal(mixed.student[0], other.student[0])
    assert not torch.equal(mixed.student[0], plain.student[0])


def test_the_second_student_starts_from_the_first_teachers_view():
    image = torch.rand(1, 3, 32, 32)
    model = build("rstpm").eval()
    with torch.no_grad():
        pair = model(image)[1]
        source = model.teacher(model.normalize(image))[-1]
        rebuilt = model.student2(source, pair.teacher)
    assert torch.equal(pair.student[0], rebuilt[0])


def test_fingerprint_covers_both_teachers():
    model = build("rstpm")
    before = model.fingerprint()
    assert before != model.teacher.fingerprint()
    next(model.teacher2.parameters()).add_(1)
    assert model.fingerprint() != before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("system", TWO_PHASES)
def test_steps_in_low_precision_are_finite(system, dtype):
    model = build(system).train()
    network = build_segmentation(NetworkOptions(system), model.channels, width=16)
    image, mask = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32) > 0.5
    with torch.autocast("cpu", dtype=dtype):
        pairs = model(image)
        score_map = SYSTEMS[system].distance_map(pairs, (32, 32))
        first = distillation_loss(pairs)
        frozen = FeaturePair(*([f.detach() for f in side] for side in pairs[0][:2]))
        second = segmentation_loss(network(frozen), mask)
    assert first.dtype == second.dtype == score_map.dtype == torch.float32
    assert 0 <= first <= 6
    (first + second).backward()
    for part in (model.student, network):
        assert all(torch.isfinite(p.grad).all() for p in part.parameters())


def random_pairs(number):
    shapes = [(2, 4, 8, 6), (2, 8, 4, 3), (2, 16, 2, 2)]
    return [FeaturePair(*([torch.rand(s) for s in shapes] for _ in "ts")) for _ in range(number)]


def up(x, size):
    return torch.nn.functional.interpolate(x[:, None], size=size, mode="bilinear")


def test_score_map_multiplies_at_the_finest_level():
    ((teacher, student, *_),) = pairs = random_pairs(1)
    product = torch.ones(2, 1, 8, 6)
    for t, s in zip(teacher, student, strict=True):
        product = product * up(cosine_distance(t, s), (8, 6))
    expected = up(product[:, 0], (32, 24))
    torch.testing.assert_close(SYSTEMS["stpm"].distance_map(pairs, (32, 24)), expected)


def test_score_map_of_two_pairs_multiplies_half_sums_at_the_size_of_the_input():
    pairs = random_pairs(2)
    expected = torch.ones(2, 1, 32, 24)
    for level in range(3):
        maps = [up(cosine_distance(p.teacher[level], p.student[level]), (32, 24)) for p in pairs]
        expected = expected * (maps[0] + maps[1]) / 2
    torch.testing.assert_close(SYSTEMS["rstpm"].distance_map(pairs, (32, 24)), expected)


def test_image_score():
    score_map = torch.arange(200.0).view(2, 1, 10, 10) / 200
    assert image_score(score_map, 1).tolist() == pytest.approx([99 / 200, 199 / 200])
    assert image_score(score_map, 4).tolist() == pytest.approx([97.5 / 200, 197.5 / 200])
    assert image_score(score_map, 1000).tolist() == pytest.approx([49.5 / 200, 149.5 / 200])
    assert image_score(score_map.bfloat16(), 4).dtype == torch.float32


def test_share_of_the_highest_pixels_follows_the_size_of_the_image():
    tedseg, destseg = SYSTEMS["tedseg"], SYSTEMS["destseg"]
    assert tedseg.highest((256, 256)) == 100
    assert tedseg.highest((512, 256)) == 200
    assert tedseg.highest((8, 8)) == 1
    assert destseg.highest((256, 256)) == destseg.highest((512, 512)) == 100


def test_constants_of_the_papers():
    facts = {
        name: (
            s.segmentation is not None,
            s.synthetic,
            s.highest((512, 512)),
            s.loss_scale,
            s.loss_reduction,
            s.teachers[1:],
        )
        for name, s in SYSTEMS.items()
        if name != "tedseg"
    }
    assert facts == {
        "stpm": (False, False, 1, 2.0, "mean", ()),
        "rstpm": (False, False, 1, 1.0, "batch_sum", ("resnet50.tv_in1k",)),
        "destseg": (True, True, 100, 1.0, "batch_sum", ()),
        "pfadseg": (True, True, 100, 1.0, "batch_sum", ()),
    }
    assert all(SYSTEMS[name].teachers[0] == "resnet18.tv_in1k" for name in facts)


@pytest.mark.parametrize(
    ("system", "options", "message"),
    [
        ("padim", {}, "system is 'padim'; give one of stpm"),
        ("stpm", {"width": 0}, "width is 0"),
        ("destseg", {"width": 8}, "16 or more"),
        ("pfadseg", {"kernels": (3, 3)}, "kernels"),
        ("stpm", {"fusion": "sum"}, "fusion is 'sum'"),
        ("rstpm", {"upsample": "nearest"}, "upsample"),
    ],
)
def test_options_that_do_not_exist(system, options, message):
    with pytest.raises(ConfigError, match=message):
        build(system, **options)


@pytest.mark.parametrize(
    ("system", "option"),
    [
        *((name, "teacher") for name in ("stpm", "rstpm", "destseg", "pfadseg", "tedseg")),
        ("rstpm", "teacher2"),
    ],
)
@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("resnet18x", "'resnet18x' cannot be built as a feature pyramid"),
        ("mambaout_femto", "'mambaout_femto' puts the channels of its features last"),
        ("test_vit", "'test_vit' is a transformer .* or system tedseg, which takes transformers"),
    ],
)
def test_every_system_refuses_backbones_that_cannot_serve(system, option, teacher, message):
    if (system, teacher) == ("tedseg", "test_vit"):
        assert build(system, teacher=teacher).channels
        return
    with pytest.raises(ConfigError, match=message) as error:
        build(system, **{option: teacher})
    assert "\n" not in str(error.value)


def test_one_phase_systems_have_no_segmentation():
    with pytest.raises(ConfigError, match="destseg, pfadseg"):
        build_segmentation(NetworkOptions("stpm"), (64, 128, 256))


def test_rstpm_asks_for_the_whole_first_teacher(assets):
    path = assets / "weights/resnet18_tv_in1k_trunk.safetensors"
    with pytest.raises(CheckpointError, match="layer4"):
        build_student_teacher(NetworkOptions("rstpm"), str(path), "random")


def test_rstpm_takes_an_efficientnet_with_its_last_level_and_a_resnet():
    options = NetworkOptions(
        "rstpm", teacher="tf_efficientnet_lite0.in1k", teacher2="resnet18.tv_in1k"
    )
    with torch.device("meta"):
        network = build_student_teacher(options, "random", "random")
        pairs = network(torch.empty(2, 3, 64, 64))
    assert network.teacher.channels == (24, 40, 112, 320)
    for pair, channels in zip(pairs, [(24, 40, 112), (64, 128, 256)], strict=True):
        for side in (pair.teacher, pair.student):
            assert [tuple(x.shape) for x in side] == [
                (2, width, size, size) for width, size in zip(channels, (16, 8, 4), strict=True)
            ]
