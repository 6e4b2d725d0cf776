"""Mask files of every kind: which pixels count as a defect."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from padseg.data.masks import has_dark_regions, is_empty_mask, mask_share, read_masks

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


def _numbered(count: int, width: int, height: int = 3) -> np.ndarray:
    """Apart and side by side, each value in a rectangle of its own."""
    grid = np.zeros((64, 64), np.uint16)
    for number in range(count):
        row, column = divmod(number, 64 // (width + 1))
        grid[row * (height + 1) :][:height, column * (width + 1) :][:, :width] = number + 1
    return grid


@pytest.mark.parametrize(
    "kinds",
    [
        np.kron([[0, 60, 200], [60, 0, 200], [0, 0, 0]], np.ones((8, 8))),
        np.kron([[0, 10, 200], [10, 0, 200], [0, 0, 0]], np.ones((8, 8))),
        np.kron([[0, 127, 255], [0, 0, 0], [255, 127, 0]], np.ones((8, 8))),
        np.kron([[0, 1, 0, 100, 0, 255], [0, 0, 0, 0, 0, 0]], np.ones((2, 2))),
        np.kron([[0, 5, 0, 100, 0, 255], [0, 0, 0, 0, 0, 0]], np.ones((8, 8))),
        _numbered(40, 7),
        _numbered(40, 5, height=1),  # lines
        _numbered(90, 1, height=1),  # pixels
        _numbered(60, 6) * 500,  # more than 8 bits
    ],
)
def test_numbers_of_kinds_and_instances_are_all_defects(tmp_path, kinds):
    kind = np.uint8 if kinds.max() < 256 else np.uint16
    Image.fromarray(kinds.astype(kind)).save(tmp_path / "m.png")
    assert np.array_equal(read_masks([tmp_path / "m.png"], kinds.shape), kinds > 0)


def test_colours_of_kinds_are_all_defects(tmp_path):
    colours = np.zeros((40, 40, 3), np.uint8)
    colours[4:12, 4:20], colours[20:30, 4:20] = (255, 0, 0), (0, 0, 60)
    Image.fromarray(colours).save(tmp_path / "m.png")
    assert np.array_equal(read_masks([tmp_path / "m.png"], (40, 40)), colours.any(axis=2))


def _blob(scale: int = 1) -> Image.Image:
    mask = Image.new("L", (80 * scale, 80 * scale))
    draw = ImageDraw.Draw(mask)
    draw.ellipse([10 * scale, 10 * scale, 45 * scale, 30 * scale], fill=255)
    draw.line([5 * scale, 70 * scale, 75 * scale, 50 * scale], fill=255, width=6 * scale)
    draw.rectangle([55 * scale, 8 * scale, 70 * scale, 25 * scale], fill=255)
    return mask


@pytest.mark.parametrize(
    "soften",
    [
        lambda mask: mask.resize((160, 160), Image.Resampling.BILINEAR),
        lambda mask: mask.resize((53, 53), Image.Resampling.BILINEAR),
        lambda mask: mask.resize((97, 97), Image.Resampling.BICUBIC),
        lambda mask: mask.filter(ImageFilter.GaussianBlur(1)),
        lambda mask: mask.filter(ImageFilter.GaussianBlur(2)),
        lambda mask: mask.filter(ImageFilter.BoxBlur(1)),
        lambda mask: _blob(4).resize((80, 80), Image.Resampling.BOX),
    ],
)
def test_soft_edges_are_cut_at_half_of_the_brightest_value(tmp_path, soften):
    grey = np.asarray(soften(_blob()))
    Image.fromarray(grey).save(tmp_path / "m.png")
    expected = grey / grey.max() >= 0.5
    assert np.array_equal(read_masks([tmp_path / "m.png"], grey.shape), expected)
    assert not has_dark_regions(mask_share(tmp_path / "m.png"))


@pytest.mark.parametrize("quality", [30, 40, 50, 60, 75, 90, 95, 100])
def test_the_noise_of_jpeg_is_no_defect(tmp_path, quality):
    masks, rng = [_blob()], np.random.default_rng(0)
    for radius in (2, 3, 4, 6, 9, 14):  # noise matters most beside small defects
        masks.append(Image.new("L", (80, 80)))
        x, y = rng.uniform(20, 60, 2)
        box = [x - radius, y - radius / 2, x + radius, y + radius / 2]
        ImageDraw.Draw(masks[-1]).ellipse(box, fill=255)
    for mask in masks:
        mask.save(tmp_path / "m.jpg", quality=quality)
        with Image.open(tmp_path / "m.jpg") as stored:
            grey = np.asarray(stored)
        marked = read_masks([tmp_path / "m.jpg"], (80, 80))
        assert np.array_equal(marked, grey >= grey.max() / 2)
        assert not has_dark_regions(mask_share(tmp_path / "m.jpg"))


def test_faint_regions_are_told_and_faint_ends_are_not():
    share = np.zeros((64, 64), np.float32)
    share[10:30, 10:30] = 1
    share[30:33, 18:23] = 0.4  # where the square goes on
    assert not has_dark_regions(share)
    share[50:52, 5:50] = 0.4  # a scratch
    assert has_dark_regions(share)


def test_numbers_of_kinds_survive_jpeg(tmp_path):
    kinds = np.kron([[0, 90, 0, 255], [0, 0, 0, 0]], np.ones((32, 32))).astype(np.uint8)
    Image.fromarray(kinds).save(tmp_path / "m.jpg", quality=75)
    assert np.mean(read_masks([tmp_path / "m.jpg"], kinds.shape) != (kinds > 0)) < 0.01


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


def test_mask_follows_the_published_reduction(tmp_path):
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
