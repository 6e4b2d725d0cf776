"""The teacher: frozen, fingerprinted, and with clear errors for weights that it cannot use."""

import pickle
import socket
import time

import pytest
import timm
import torch
from safetensors.torch import save_file

from padseg.errors import CheckpointError, ConfigError
from padseg.models import Normalize, Teacher
from tiny import count_parameters

NAME = "test_resnet"


def state(name=NAME):
    """Weights of a whole model, head included."""
    return timm.create_model(name).state_dict()


class Code:
    """Runs something when unpickled."""

    def __reduce__(self):
        return print, ("this must not be run",)


def test_normalize():
    normalize = Normalize()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert normalize(mean).abs().max() < 1e-6
    white = normalize(torch.ones(1, 3, 1, 1)).flatten()
    assert white.tolist() == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
    assert not normalize.state_dict()


def test_teacher_is_frozen_and_stays_in_eval():
    teacher = Teacher(NAME, "random")
    assert teacher.channels == (32, 48, 192)
    before = teacher.fingerprint()
    parent = torch.nn.ModuleDict({"teacher": teacher}).train()
    assert parent.training
    assert not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    image = torch.rand(2, 3, 40, 56, requires_grad=True)
    features = teacher(image)
    assert [tuple(f.shape) for f in features] == [(2, 32, 10, 14), (2, 48, 5, 7), (2, 192, 3, 4)]
    assert not any(f.requires_grad for f in features)
    assert teacher.fingerprint() == before


def test_random_weights_follow_the_global_seed():
    def fingerprint(seed):
        torch.manual_seed(seed)
        return Teacher(NAME, "random").fingerprint()

    assert fingerprint(0) == fingerprint(0) != fingerprint(1)


def test_fingerprint_sees_every_bit_but_not_the_memory_format():
    teacher = Teacher(NAME, "random")
    before = teacher.fingerprint()
    assert teacher.to(memory_format=torch.channels_last).fingerprint() == before
    weight = next(teacher.parameters())
    weight[0, 0, 0, 0] = torch.nextafter(weight[0, 0, 0, 0], torch.tensor(9.0))
    changed = teacher.fingerprint()
    assert changed != before
    assert teacher.double().fingerprint() != changed


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_weights_with_surplus(tmp_path, suffix):
    weights, path = state(), tmp_path / f"weights{suffix}"
    assert any(key.startswith("fc") for key in weights)
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    loaded = Teacher(NAME, str(path)).net.state_dict()
    assert all(torch.equal(loaded[key], weights[key]) for key in loaded)


def test_local_weights_without_batch_counters(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({k: v for k, v in state().items() if "num_batches" not in k}, path)
    Teacher(NAME, str(path))


def test_local_weights_of_a_backbone_with_flattened_names(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights = state("test_convnext")
    save_file(weights, path)
    loaded = Teacher("test_convnext", str(path)).net.state_dict()
    assert torch.equal(loaded["stem_0.weight"], weights["stem.0.weight"])


def test_missing_weights_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights = state()
    del weights["layer2.0.conv1.weight"]
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"lacks 1 of .* layer2\.0\.conv1\.weight;"):
        Teacher(NAME, str(path))
    save_file({k: v for k, v in weights.items() if not k.startswith("layer3")}, path)
    with pytest.raises(CheckpointError, match=r"layer2 \(1\), layer3 \(\d+\);") as error:
        Teacher(NAME, str(path))
    assert str(path) in str(error.value)


def test_weights_of_another_backbone(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights = state()
    weights["layer1.0.conv1.weight"] = weights["layer1.0.conv1.weight"][:5].clone()
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv1\.weight is \(5, "):
        Teacher(NAME, str(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02garbage" * 9])
def test_broken_file(tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Teacher(NAME, str(path))


def test_truncated_file(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(state(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Teacher(NAME, str(path))


@pytest.mark.parametrize("dump", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, 2))])
def test_code_in_a_weight_file_is_not_run(tmp_path, capsys, dump):
    path = tmp_path / "weights.pth"
    dump({"conv1.0.weight": Code()}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Teacher(NAME, str(path))
    assert "must not" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}])
def test_file_that_is_no_state_dict(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="something other than a state dict"):
        Teacher(NAME, str(path))


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
        Teacher(NAME, str(tmp_path / "nowhere.pth"))
    with pytest.raises(CheckpointError, match="is a folder; give the path"):
        Teacher(NAME, str(tmp_path))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine with an empty cache, at an address where nobody listens yet."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield server


@pytest.mark.parametrize("hangs", [False, True])
def test_hub_out_of_reach(hangs, hub, monkeypatch, capsys):
    if hangs:  # it accepts connections and never answers
        hub.listen()
    monkeypatch.setattr("padseg.models.hub._TIMEOUT", 0.5)
    message = (
        r"resnet18\.tv_in1k cannot be downloaded from the timm hub, http://127\.0\.0\.1:\d+ \(\w+\); "
        r"give a local file with --model\.weights \(with `padseg train` and `run`: --weights\)"
    )
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=message):
        Teacher("resnet18.tv_in1k")
    assert time.monotonic() - start < 10
    said = capsys.readouterr().out
    assert said.startswith("Downloading the weights of resnet18.tv_in1k from http://127.0.0.1:")


def test_weights_in_the_cache_need_no_hub(hub, tmp_path, capsys):
    folder = tmp_path / "models--timm--resnet18.tv_in1k"
    snapshot = folder / "snapshots/0123"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0123")
    weights = state("resnet18")
    save_file(weights, snapshot / "model.safetensors")
    teacher = Teacher("resnet18.tv_in1k")
    assert torch.equal(teacher.net.conv1.weight, weights["conv1.weight"])
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet18x", "cannot be built"),
        ("resnet18.nobody_in1k", "cannot be built"),
        ("mambaout_femto", "puts the channels of its features last"),
        (
            "test_vit",
            "is a transformer and has its levels at 1/16 of the resolution; choose one with 1/4, 1/8, 1/16, or system tedseg",
        ),
    ],
)
def test_unknown_backbone(name, told):
    with pytest.raises(ConfigError, match=f"{name}' {told}"):
        Teacher(name, "random")


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "vgg11"])
def test_levels_are_found_by_their_resolution(name):
    """timm counts the levels of a ResNet, a ConvNeXt and a VGG from different ones."""
    with torch.device("meta"):
        features = Teacher(name, "random")(torch.empty(1, 3, 64, 64))
    assert [feature.shape[-1] for feature in features] == [16, 8, 4]


def test_real_weights(assets):
    path = assets / "weights/resnet18_tv_in1k_trunk.safetensors"
    teacher = Teacher("resnet18.tv_in1k", str(path))
    assert count_parameters(teacher) == 2_782_784
    features = teacher(torch.zeros(1, 3, 64, 64))
    assert all(f.min() >= 0 and f.max() > 0.1 for f in features)
    with pytest.raises(CheckpointError, match=r"layer4 \(25\)"):
        Teacher("resnet18.tv_in1k", str(path), (4, 8, 16, 32))


def test_images_are_standardised_as_the_tag_says():
    image = torch.rand(2, 3, 64, 64)
    teacher = Teacher("test_resnet.r160_in1k", "random")  # mean and standard deviation one half
    for found, expected in zip(
        teacher(Normalize()(image)), teacher.net((image - 0.5) / 0.5), strict=True
    ):
        assert torch.allclose(found, expected, atol=1e-5)
    plain = Teacher("test_resnet", "random")
    assert isinstance(plain.restandardize, torch.nn.Identity)
    assert plain.state_dict().keys() == teacher.state_dict().keys()
    with pytest.raises(ConfigError, match=r"give its tag, test_resnet\.r160_in1k"):
        Teacher("test_resnet")
