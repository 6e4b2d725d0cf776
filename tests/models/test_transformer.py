"""Vision transformers as teachers: their levels, sizes and weights."""

import logging

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from padseg.errors import CheckpointError, ConfigError
from padseg.models import NetworkOptions, Teacher, build_segmentation, build_student_teacher
from padseg.models.backbones import middle_blocks
from tiny import count_parameters, fill_memory

NAME = "test_vit3"  # with a register token, patches of 16 pixels, 9 blocks
BLOCKS = [[1, 2], [4]]


def transformer(name=NAME, weights="random", blocks=BLOCKS):
    torch.manual_seed(0)
    return Teacher(name, weights, transformers=True, blocks=blocks)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random ones of a whole model, head included, in float16."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    state = timm.create_model(NAME).state_dict()
    save_file({key: (value + 0.01).half() for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("size", [(160, 160), (64, 96)])
def test_levels_are_means_of_the_patches_after_some_blocks(weights, size):
    """Against the tokens that timm's whole model has there."""
    teacher = transformer(weights=str(weights))
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    whole = timm.create_model(NAME, checkpoint_path=str(weights), dynamic_img_size=True).eval()
    tokens = []
    for block in whole.blocks:
        block.register_forward_hook(lambda _, __, output: tokens.append(output[:, 1:]))
    with torch.no_grad():
        whole(teacher.restandardize(image))
    height, width = (length // 16 for length in size)
    expected = [(tokens[1] + tokens[2]) / 2, tokens[4]]
    assert teacher.channels == (96, 96)
    for level, of in zip(teacher(image), expected, strict=True):
        assert level.shape == (2, 96, height, width)
        torch.testing.assert_close(level.flatten(2).transpose(1, 2), of)
    assert len(teacher.net.net.model.blocks) == 5
    assert not any(p.requires_grad for p in teacher.parameters())


def test_images_are_resized_to_whole_patches_and_that_is_told_once(caplog):
    teacher = transformer()
    caplog.set_level(logging.WARNING)
    assert teacher.input_size_for((64, 96)) == (64, 96)
    assert not caplog.messages
    assert [teacher.input_size_for((70, 89)) for _ in range(2)] == [(64, 96)] * 2
    (told,) = caplog.messages
    assert told == f"{NAME} sees images at 64x96, not 70x89, because its patches have 16 pixels."
    image = torch.rand(1, 3, 70, 89)
    resized = functional.interpolate(image, (64, 96), mode="bilinear")
    for level, expected in zip(teacher(image), teacher(resized), strict=True):
        torch.testing.assert_close(level, expected)
    assert teacher.input_size_for((5, 5)) == (16, 16)
    assert Teacher("test_resnet", "random").input_size_for((70, 89)) == (70, 89)


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        (2, [[0], [1]]),
        (6, [[1, 2], [3]]),
        (12, [[3, 4, 5], [6, 7, 8]]),
        (24, [[*range(6, 12)], [*range(12, 18)]]),
    ],
)
def test_blocks_in_the_middle_are_the_default(depth, blocks):
    assert middle_blocks(depth) == blocks


@pytest.mark.parametrize(
    "name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch8_224", "vit_small_patch16_dinov3"]
)
def test_kinds_of_transformers(name):
    with torch.device("meta"):
        features = transformer(name, blocks=None)(torch.empty(1, 3, 112, 112))
    places = 112 // int(name.split("patch")[1].split("_")[0])
    assert [tuple(level.shape) for level in features] == [(1, 384, places, places)] * 2


@pytest.mark.parametrize("blocks", [[], [[]], [[0], [9]], [[-1]]])
def test_blocks_that_do_not_exist(blocks):
    with pytest.raises(
        ConfigError, match=r"--model\.blocks is .* from 0 to 8, .* \[\[2, 3\], \[4, "
    ):
        transformer(blocks=blocks)


@pytest.mark.parametrize(
    ("name", "blocks", "told"),
    [
        (
            "test_resnet",
            BLOCKS,
            r"--model\.blocks is for vision transformers, and test_resnet is not one",
        ),
        ("xcit_nano_12_p8_224", None, "for images of one size; choose .*dinov2"),
        ("beit_base_patch16_224", None, "for images of one size; choose .*dinov2"),
    ],
)
def test_backbones_that_cannot_serve(name, blocks, told):
    with pytest.raises(ConfigError, match=told):
        transformer(name, blocks=blocks)


def test_missing_and_foreign_weights(weights, tmp_path):
    with pytest.raises(CheckpointError, match="test_vit"):
        transformer("test_vit", str(weights), None)
    path = tmp_path / "part.safetensors"
    state = timm.create_model(NAME).state_dict()
    save_file({key: value for key, value in state.items() if "blocks.4" not in key}, path)
    with pytest.raises(CheckpointError, match=r"needs: blocks \(\d+\); "):
        transformer(weights=str(path))
    assert transformer(weights=str(path), blocks=[[3]]).channels == (96,)


def test_a_memory_of_patches_is_segmented_at_a_quarter_of_the_image():
    options = NetworkOptions("tedseg", teacher=NAME, memory_size=20, blocks=((1, 2), (4,), (5,)))
    torch.manual_seed(0)
    network = build_student_teacher(options, "random").eval()
    images = torch.rand(4, 3, 64, 96)
    fill_memory(network, images)
    (pair,) = network(images)
    assert network.channels == (96, 96, 96)
    assert [tuple(level.shape[1:]) for level in pair.teacher] == [(96, 6, 9)] * 3
    head = build_segmentation(NetworkOptions("tedseg"), network.channels, width=16).eval()
    assert head(pair).shape == (4, 1, 16, 24)


@pytest.mark.slow
def test_real_weights(assets):
    """The middle blocks of a DINOv2 answer alike to an image that is moved by a patch."""
    path = assets / "weights/vit_small_patch14_dinov2_fp16.safetensors"
    teacher = transformer("vit_small_patch14_dinov2.lvd142m", str(path), None)
    assert count_parameters(teacher) == 16_729_728
    noise = torch.nn.functional.interpolate(
        torch.rand(1, 3, 30, 30, generator=torch.Generator().manual_seed(0)), (266, 266)
    )
    here, there = teacher(noise[..., :252, :252]), teacher(noise[..., :252, 14:])
    for level, moved in zip(here, there, strict=True):
        same = functional.cosine_similarity(level[..., 1:], moved[..., :-1])
        other = functional.cosine_similarity(level[..., 1:], level[..., :-1])
        assert same.mean() > other.mean() + 0.1
