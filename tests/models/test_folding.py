"""A frozen teacher with folded batch norms answers as the one in its checkpoint."""

import copy
import pickle
import threading
from functools import partial

import pytest
import torch
from torch import nn

from padseg.models import Teacher
from padseg.models.folding import find_folds, fold_batch_norms
from tiny import shake, tiny_student

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 4 - 2


def pair(name):
    """The same teacher, folded and as it is, with batch norms that change what they are given."""
    torch.manual_seed(0)
    folded = Teacher(name, "random")
    shake(folded.net)
    return folded, as_stored(folded)


def as_stored(teacher):
    plain = copy.deepcopy(teacher)
    plain.folds = ()
    return plain


def assert_near(features, expected):
    for level, other in zip(features, expected, strict=True):
        assert (level - other).abs().max() < 1e-4 * other.abs().max()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "tf_efficientnet_lite0"])
def test_folded_features_are_the_same_up_to_rounding(name):
    folded, plain = pair(name)
    norms = [part for part in plain.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(folded.folds) == len(norms)
    features = folded(IMAGES)
    assert_near(features, plain(IMAGES))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded._folded[0].modules())
    assert not any(x.requires_grad for x in features)


def test_weights_and_hash_are_those_of_the_plain_teacher():
    folded, plain = pair("test_resnet")
    folded(IMAGES)
    assert folded.state_dict().keys() == plain.state_dict().keys()
    assert sum(1 for _ in folded.parameters()) == sum(1 for _ in plain.parameters())
    assert folded.fingerprint() == plain.fingerprint()
    assert_near(copy.deepcopy(folded)(IMAGES), plain(IMAGES))
    assert_near(pickle.loads(pickle.dumps(folded))(IMAGES), plain(IMAGES))


def test_new_weights_or_another_dtype_are_folded_again():
    folded, plain = pair("test_resnet")
    before = folded(IMAGES)
    nn.ModuleDict({"teacher": folded}).load_state_dict(
        {f"teacher.{key}": value * 0.9 for key, value in plain.state_dict().items()}
    )
    plain.load_state_dict(folded.state_dict())
    assert_near(folded(IMAGES), plain(IMAGES))
    assert (folded(IMAGES)[0] - before[0]).abs().max() > 1e-2
    assert folded.double()(IMAGES.double())[0].dtype == torch.float64


@pytest.mark.parametrize("copied", [False, True])
def test_weights_that_are_loaded_into_the_network_itself_are_folded_again(copied):
    folded, plain = pair("test_resnet")
    before = folded(IMAGES)
    folded = copy.deepcopy(folded) if copied else folded
    state = {key: value * 0.9 for key, value in plain.net.state_dict().items()}
    for net, stem in ((folded.net, "conv1."), (plain.net, "conv1.")):
        part = {key.removeprefix(stem): state[key] for key in state if key.startswith(stem)}
        net.conv1.load_state_dict(part)
    assert part
    assert_near(folded(IMAGES), plain(IMAGES))
    for net in (folded.net, plain.net):
        net.load_state_dict(state)
    assert_near(folded(IMAGES), plain(IMAGES))
    assert (folded(IMAGES)[0] - before[0]).abs().max() > 1e-2


@pytest.mark.parametrize("system", ["stpm", "rstpm", "destseg", "pfadseg"])
def test_every_system_folds_its_teachers_and_scores_alike(system):
    module = tiny_student(system).eval()
    teachers = [part for part in module.modules() if isinstance(part, Teacher)]
    assert len(teachers) == len(module.parts.teachers)
    assert all(teacher.folds for teacher in teachers)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    folded = module(image)["score_map"]
    for teacher in teachers:
        teacher.folds = ()
    plain = module(image)["score_map"]
    assert (folded - plain).abs().max() < 1e-5
    assert plain.std() > 1e-3


def test_what_cannot_be_folded_stays():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return 3 * super().forward(x)

    net = nn.Sequential(
        *(nn.BatchNorm2d(3), Scaled(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)),
    )
    shake(net)
    folds = find_folds(net, IMAGES)
    assert [tuple(fold) for fold in folds] == [("5", "6")]
    expected = net(IMAGES)
    fold_batch_norms(net, folds)
    assert_near([net(IMAGES)], [expected])


class Branches(nn.Module):
    """Convolutions whose output something else than one batch norm reads."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(6))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(7))

    def forward(self, x):
        convolutions, norms = iter(self.convolutions), iter(self.norms)
        shared = next(convolutions)(x)  # a shortcut, as in CoAtNet
        x = shared + next(norms)(shared)
        x = next(norms)(nn.functional.relu_(next(convolutions)(x)))  # changed in place
        twice = next(convolutions)
        x = next(norms)(twice(x)) + next(norms)(twice(x + 1))  # one convolution, two norms
        norm = next(norms)
        x = norm(next(convolutions)(x)) + norm(x)  # a norm of other values as well
        level = next(convolutions)(x)  # a feature itself, as in Xception
        good = next(convolutions)(next(norms)(level))
        return [level, next(norms)(good)]


def test_only_what_one_batch_norm_reads_is_folded():
    torch.manual_seed(0)
    net = shake(Branches())
    folds = find_folds(net, IMAGES)
    assert [tuple(fold) for fold in folds] == [("convolutions.5", "norms.6")]
    expected = net(IMAGES)
    fold_batch_norms(net, folds)
    assert_near(net(IMAGES), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["coatnet_pico_rw_224", "xception41p", "densenet121", "resnetv2_50"]
)
def test_backbones_with_batch_norms_before_convolutions_answer_alike(name):
    torch.manual_seed(0)
    folded = Teacher(name, "random")
    for norm in folded.modules():
        if isinstance(norm, nn.BatchNorm2d):
            shake(norm)
    assert folded.folds
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 4 - 2
    assert_near(folded(images), as_stored(folded)(images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet18.tv_in1k", "resnet18_tv_in1k_trunk.safetensors"),
        ("tf_efficientnet_lite0.in1k", "tf_efficientnet_lite0.in1k.safetensors"),
    ],
)
def test_features_of_the_real_teacher_differ_by_less_than_a_ten_thousandth(name, file, assets):
    weights = str(assets / "weights" / file)
    folded = Teacher(name, weights)
    for level, other in zip(folded(IMAGES), as_stored(folded)(IMAGES), strict=True):
        assert (level - other).abs().max() < 1e-4 * max(1, other.abs().max())


def test_a_network_with_hooks_computes_as_it_is():
    """A profiler's hooks cannot be copied, and a user's are about the batch norms too."""
    folded, plain = pair("test_resnet")
    seen, lock = [], threading.Lock()
    norm = next(part for part in folded.net.modules() if isinstance(part, nn.BatchNorm2d))
    hook = norm.register_forward_hook(partial(lambda *given: seen.append(given), lock))
    for level, other in zip(folded(IMAGES), plain.net(IMAGES), strict=True):
        assert torch.equal(level, other)
    assert len(seen) == 1
    hook.remove()
    assert_near(folded(IMAGES), plain(IMAGES))
    assert folded._folded is not None
