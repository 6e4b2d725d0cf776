"""Mask files of every kind: which pixels count as a defect."""

import numpy as np
import pytest
import torch
from PIL import Image

from padseg.data.masks import is_empty_mask, read_masks

from .conftest import SIZE


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 3), (0, 254), (0, 65535), (0, 1000)])
def test_masks_of_any_scale(tmp_path, grey, values):
    expected = (grey > 128).astype(np.uint8)
    kind = np.uint8 if values[1] < 256 else np.uint16
    Image.fromarray(np.where(expected, *values[::-1]).astype(kind)).save(tmp_path / "m.png")
    assert np.array_equal(read_masks([tmp_path / "m.png"], SIZE), expected)


def test_masks_that_number_their_defects(tmp_path, grey):
    kinds = grey // 50
    Image.fromarray(kinds).save(tmp_path / "m.png")
    assert np.array_equal(read_masks([tmp_path / "m.png"], SIZE), kinds > 0)


def test_palette_masks_are_black_or_not(tmp_path, grey):
    kinds = grey // 50
    mask = Image.fromarray(kinds).convert("P")
    mask.putpalette([0, 0, 0, 0, 0, 60, 128, 0, 0, 255, 255, 255, 1, 1, 1, 9, 9, 9])
    mask.save(tmp_path / "m.png")
    assert np.array_equal(read_masks([tmp_path / "m.png"], SIZE), kinds > 0)


def test_colours_of_masks_do_not_weigh(tmp_path):
    colours = np.zeros((*SIZE, 3), np.uint8)
    for row, colour in enumerate(((255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255))):
        colours[4 * row : 4 * row + 2] = colour
    Image.fromarray(colours).save(tmp_path / "m.png")
    assert np.array_equal(read_masks([tmp_path / "m.png"], SIZE), colours.any(axis=2))


def test_masks_with_soft_edges_are_cut_at_one_half(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "m.png")
    share = grey / grey.max()
    assert np.array_equal(read_masks([tmp_path / "m.png"], SIZE), share >= 0.5)


def test_masks_add_up(tmp_path):
    left, right = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    left[:, :10], right[:, 30:] = 255, 254
    for name, mask in (("l", left), ("r", right)):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    both = read_masks([tmp_path / "l.png", tmp_path / "r.png"], SIZE)
    assert np.array_equal(both, (left + right) > 0)
    assert not read_masks([], SIZE).any()


def test_empty_masks(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert is_empty_mask(tmp_path / "m.png")
    mask[3, 4] = 1
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert not is_empty_mask(tmp_path / "m.png")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("indexed", [False, True])
def test_what_a_mask_leaves_transparent_is_normal(tmp_path, mode, indexed):
    alpha = np.zeros((40, 40), np.uint8)
    alpha[5:15, 10:30] = 255
    mask = Image.new(mode, (40, 40), "white")
    mask.putalpha(Image.fromarray(alpha))
    if indexed:
        mask = mask.convert("RGBA").quantize()
        assert mask.mode == "P"
    mask.save(tmp_path / "m.png")
    assert np.array_equal(read_masks([tmp_path / "m.png"], (40, 40)), alpha // 255)


@pytest.mark.parametrize(("mode", "clear"), [("L", 200), ("RGB", (255, 255, 254))])
def test_the_transparent_colour_of_a_mask_is_normal(tmp_path, mode, clear):
    expected = np.zeros((40, 40), np.uint8)
    expected[5:15, 10:30] = 1
    mask = Image.new(mode, (40, 40), clear)
    mask.paste("white", (10, 5, 30, 15))
    mask.save(tmp_path / "m.png", transparency=clear)
    assert np.array_equal(read_masks([tmp_path / "m.png"], (40, 40)), expected)


def test_mask_follows_the_published_reduction(tmp_path, data_root):
    from padseg.data.masks import read_masks

    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 2, (9, 9)), np.ones((20, 20))).astype(np.uint8) * 255
    for scale in (255, 1):
        path = tmp_path / "mask.png"
        Image.fromarray(mask // 255 * scale).save(path)
        tensor = torch.from_numpy(mask / 255).float()[None, None]
        reference = torch.nn.functional.interpolate(
            tensor, (64, 64), mode="bilinear", antialias=True, align_corners=False
        )
        share = reference[0, 0].numpy()
        ours = read_masks([path], (64, 64))
        sure = abs(share - 0.5) > 1e-3  # both round the filter's weights differently
        assert np.array_equal(ours[sure], (share >= 0.5)[sure])
