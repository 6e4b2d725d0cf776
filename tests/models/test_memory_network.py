"""TEDSeg's networks: their size, and what the student remembers."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.utils.flop_counter import FlopCounterMode

from padseg.errors import ConfigError
from padseg.losses import cosine_distance
from padseg.models import NetworkOptions, build_segmentation, build_student_teacher
from padseg.models.layers import smooth_to
from padseg.models.memory_student import MemoryStudent
from tiny import count_parameters, fill_memory

IMAGES = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NUMBERS = torch.arange(6)


def tiny(size=300, **options):
    torch.manual_seed(0)
    options = NetworkOptions("tedseg", **{"teacher": "test_resnet", "memory_size": size, **options})
    return build_student_teacher(options, "random", "random").eval()


def filled(**options):
    network = tiny(**options)
    fill_memory(network, IMAGES)
    return network


def test_whole_size():
    """At most 9 million parameters and 9 GMAC an image of 256x256, as its card says."""
    with torch.device("meta"):
        network = build_student_teacher(NetworkOptions("tedseg"), "random").eval()
        head = build_segmentation(NetworkOptions("tedseg"), network.channels).eval()
        assert network.channels == (24, 40, 40, 112)
        assert count_parameters(network.teacher) == 700_768
        assert count_parameters(network.student) == 2000 * (24 + 40) + 2000 * (40 + 112)
        assert count_parameters(head) == 2 * 517_225
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            (pair,) = network(torch.empty(1, 3, 256, 256))
            assert head(pair).shape == (1, 1, 64, 64)
    assert counter.get_total_flops() / 2e9 == pytest.approx(4.18, abs=0.01)
    assert [x.shape[-1] for x in pair.teacher] == [64, 64, 64, 64]


@pytest.mark.slow
def test_whole_size_of_two_teachers():
    """As the card says."""
    options = NetworkOptions("tedseg", teacher2="vit_small_patch14_dinov2.lvd142m")
    with torch.device("meta"):
        network = build_student_teacher(options, "random", "random").eval()
        heads = [
            build_segmentation(options, channels).eval()
            for channels in (network.channels, network.channels2)
        ]
        assert count_parameters(network, *heads) == pytest.approx(21.5e6, rel=0.002)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            pairs = network(torch.empty(1, 3, 256, 256))
            for head, pair in zip(heads, pairs, strict=True):
                assert head(pair).shape == (1, 1, 64, 64)
    assert counter.get_total_flops() / 2e9 == pytest.approx(21.6, abs=0.05)


@pytest.mark.parametrize("zooms", [None, [1.0, 1.5]])
def test_a_memory_of_other_zooms_is_refused(zooms):
    """It would load, and find normal images far from what it remembers."""
    state = filled().state_dict()
    stored = state.pop("zooms")
    assert stored.tolist() == [1, 2]
    tiny().load_state_dict(state | {"zooms": stored})
    other = {} if zooms is None else {"zooms": torch.tensor(zooms)}
    with pytest.raises(RuntimeError, match=r"zooms|enlarged differently"):
        tiny().load_state_dict(state | other)


def test_levels_are_unit_vectors_of_the_pooled_pyramid():
    network = tiny()
    with torch.no_grad():
        zoomed = torch.nn.functional.interpolate(IMAGES, size=(128, 128), mode="bilinear")
        _, middle, coarse = network.teacher(network.normalize(zoomed))
        found = network.look(IMAGES)[1]
    size = middle.shape[-1]
    places = np.ones((size, size))
    for level, x in zip(found, (middle, coarse), strict=True):
        assert level.shape == (6, x.shape[1], size, size)
        if x is middle:  # the mean of those neighbours that lie inside
            window = {"size": (1, 1, 3, 3), "mode": "constant"}
            inside = ndimage.uniform_filter(places[None, None], **window)
            mean = ndimage.uniform_filter(x.double().numpy(), **window) / inside
            expected = mean / (np.linalg.norm(mean, axis=1, keepdims=True) + 1e-3)
            assert np.abs(level.numpy() - expected).max() < 1e-5
        assert level.norm(dim=1).max() <= 1


def test_an_image_is_known_unless_it_is_left_out():
    network = filled()
    (known,), (left_out,) = network(IMAGES), network(IMAGES, index=NUMBERS)
    for level, (teacher, student) in enumerate(zip(known.teacher, known.student, strict=True)):
        near = cosine_distance(teacher, student).mean()
        far = cosine_distance(left_out.teacher[level], left_out.student[level]).mean()
        assert near < far
    assert all(torch.equal(*pair) for pair in zip(known.teacher, left_out.teacher, strict=True))


def test_the_student_answers_to_the_corrupted_image():
    network, other = filled(), IMAGES.flip(0)
    (mixed,), (plain,), (corrupted,) = network(IMAGES, other), network(IMAGES), network(other)
    assert all(torch.equal(*pair) for pair in zip(mixed.teacher, plain.teacher, strict=True))
    assert all(torch.equal(*pair) for pair in zip(mixed.student, corrupted.student, strict=True))


@pytest.mark.parametrize(
    ("teacher", "teacher2"),
    [
        ("test_resnet", "test_vit3"),
        pytest.param("test_vit3", "test_resnet", marks=pytest.mark.slow),
        pytest.param("test_resnet", "test_convnext", marks=pytest.mark.slow),
    ],
)
def test_two_teachers_are_remembered_as_each_would_be_alone(teacher, teacher2):
    """But for their segmentations' size, which is that of the first."""
    network = filled(teacher=teacher, teacher2=teacher2)
    pairs = network(IMAGES, index=NUMBERS)
    for number, (name, pair) in enumerate(zip((teacher, teacher2), pairs, strict=True)):
        single = tiny(teacher=name)
        backbone = network.teacher2 if number else network.teacher
        single.teacher.load_state_dict(backbone.state_dict())
        fill_memory(single, IMAGES)
        (expected,) = single(IMAGES, index=NUMBERS)
        assert (network.channels2 if number else network.channels) == single.channels
        for found, wanted in ((pair.teacher, expected.teacher), (pair.student, expected.student)):
            assert all(torch.equal(*level) for level in zip(found, wanted, strict=True))
        assert pair.size == pairs[0].size
        assert single.fingerprint() == backbone.fingerprint() != network.fingerprint()


def test_blocks_are_of_the_transformer_among_two_teachers():
    blocks = ((1, 2), (4,), (6,))
    names, levels = ["test_resnet", "test_vit3"], [4, 3]
    for order in (1, -1):
        first, second = names[::order]
        network = tiny(teacher=first, teacher2=second, blocks=blocks)
        assert [len(network.channels), len(network.channels2)] == levels[::order]
    with pytest.raises(ConfigError, match=r"blocks is for vision transformers, and test_resnet is"):
        tiny(teacher2="test_convnext", blocks=blocks)


def test_candidates_depend_on_the_number_of_their_sample():
    whole, halves = tiny(), tiny()
    whole.collect(IMAGES, NUMBERS, 12, 100, lambda x: x)
    for start in (0, 3):
        part = slice(start, start + 3)
        # As in a process of two: each collects half of the images.
        halves.collect(IMAGES[part], NUMBERS[part], 12 + start, 100, lambda x: torch.cat([x, x]))
    for (vectors, image), (halved, half_image) in zip(
        whole.student.all_candidates(), halves.student.all_candidates(), strict=True
    ):
        each = len(vectors) // 6
        kept = torch.cat([torch.arange(3 * each), torch.arange(6 * each, 9 * each)])
        assert torch.equal(vectors, halved[kept])
        assert torch.equal(image, half_image[kept])


def test_candidates_of_a_checkpoint_move_to_the_device_of_further_ones():
    student = MemoryStudent([[4]], size=2)
    student.candidates = [
        [(torch.zeros(count, 4, device=device), torch.zeros(count, device=device))]
        for count, device in ((3, "cpu"), (2, "meta"))
    ]
    ((vectors, image),) = student.all_candidates()
    assert vectors.is_meta
    assert image.is_meta
    assert len(vectors) == len(image) == 5


@pytest.mark.parametrize("sizes", [((16, 12), (64, 48)), ((9, 7), (32, 33)), ((8, 8), (8, 8))])
def test_smoothing_is_interpolation_and_a_gaussian_filter(sizes):
    size, target = sizes
    x = torch.rand(2, 3, *size)
    deviations = (target[0] / 64, target[1] / 20)
    larger = torch.nn.functional.interpolate(x, size=target, mode="bilinear").double().numpy()
    expected = ndimage.gaussian_filter(
        larger,
        (0, 0, *deviations),
        mode="mirror",
        radius=(0, 0, *(int(3 * d + 0.5) for d in deviations)),
    )
    with torch.autocast("cpu", torch.bfloat16):
        found = smooth_to(x, target, deviations)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < 1e-5
