"""Each fill against what its docstring promises."""

import numpy as np
import pytest

from padseg.synthesis.fills import FILLS, Scene, fill_flat, fill_self, fill_texture, fill_tone

SIZE = (48, 64)


def coloured(seed, low=0, high=256, size=SIZE):
    return np.random.default_rng(seed).integers(low, high, (*size, 3), dtype=np.uint8)


def without_colour(seed, **more):
    return np.repeat(coloured(seed, **more)[..., :1], 3, axis=2)


SCENE = Scene(coloured(0, 100, 140), coloured(1), [coloured(2, 0, 40), coloured(3, 200, 256)])
GREY = Scene(without_colour(0), coloured(1), [without_colour(2)])


def fills(function, scene=SCENE, count=400, opacity=(0.2, 0.6)):
    return [function(np.random.default_rng([3, n]), scene, opacity) for n in range(count)]


def shown(fill, mean):
    """The fill as it is painted."""
    value = fill.gain * fill.picture / 255 + fill.share * np.asarray(mean) + fill.shift
    return np.clip(value, 0, 1)


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("size", [(48, 64), (33, 20), (40, 40)])
def test_any_fill_at_any_size(name, size):
    scene = Scene(coloured(0, size=size), coloured(1, size=size), [coloured(2, size=size)])
    copies = scene.image.copy(), scene.texture.copy(), scene.others[0].copy()
    for fill in fills(FILLS[name], scene, 30):
        assert fill.picture.shape == (*size, 3)
        assert fill.picture.dtype == np.uint8
        assert 0 <= fill.opacity <= 1
    for before, after in zip(copies, (scene.image, scene.texture, scene.others[0]), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("name", FILLS)
def test_a_fill_is_of_its_generator_alone(name):
    first, again = fills(FILLS[name], count=10), fills(FILLS[name], count=10)
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.picture, two.picture)
        assert (one.opacity, one.gain, one.share) == (two.opacity, two.gain, two.share)
        assert np.array_equal(one.shift, two.shift)


@pytest.mark.parametrize("name", FILLS)
def test_images_without_colour_get_none(name):
    for fill in fills(FILLS[name], GREY, 60):
        value = shown(fill, [0.4] * 3)
        np.testing.assert_allclose(value, value[..., :1].repeat(3, 2), atol=1e-6)


def test_textures_are_whole_or_parts_and_some_take_the_colour_of_their_place():
    found = fills(fill_texture)
    assert all(0.2 <= fill.opacity <= 0.6 for fill in found)
    whole = [np.array_equal(fill.picture, SCENE.texture) for fill in found]
    assert np.mean(whole) == pytest.approx(0.5 * 0.9, abs=0.08)
    moved = [fill for fill in found if fill.share]
    assert len(moved) / len(found) == pytest.approx(0.15 + 0.85 * 0.1, abs=0.06)
    mean = np.array([0.3, 0.4, 0.5])
    distances = []
    for fill in moved:
        value = fill.picture / 255 + fill.share * mean + fill.shift
        difference = value.mean((0, 1)) - mean
        np.testing.assert_allclose(difference, difference[0], atol=1e-3)  # no tint
        distances.append(abs(difference[0]))
    assert min(distances) < 1e-3
    assert max(distances) > 0.1


def test_own_parts_are_of_this_or_another_image():
    found = fills(fill_self)
    assert all(0.4 <= fill.opacity <= 1 and 0.7 <= fill.gain <= 1.3 for fill in found)
    levels = np.array([fill.picture.mean() for fill in found])
    own, dark, bright = (
        ((low < levels) & (levels < high)).mean() for low, high in ((100, 140), (0, 40), (200, 256))
    )
    assert (own, dark, bright) == pytest.approx((0.5, 0.25, 0.25), abs=0.08)
    pixels = {bytes(pixel) for pixel in SCENE.image.reshape(-1, 3)}
    own_ones = [
        fill.picture for fill, level in zip(found, levels, strict=True) if 100 < level < 140
    ]
    kept = [{bytes(pixel) for pixel in picture.reshape(-1, 3)} == pixels for picture in own_ones]
    assert np.mean(kept) == pytest.approx(0.7, abs=0.1)  # the others are enlarged parts
    assert not any(np.array_equal(picture, SCENE.image) for picture in own_ones)


def test_own_parts_are_turned_and_shifted():
    """A single white column becomes a row in a quarter of the square images."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 7] = 255
    found = fills(fill_self, Scene(image, image, [image]))
    lines = [fill.picture[..., 0] for fill in found if (fill.picture > 0).sum() == 3 * 40]
    rows = [line for line in lines if line.all(1).any()]
    assert len(rows) / len(lines) == pytest.approx(1 / 3, abs=0.08)  # of 0, 90, 180, 270 degrees
    columns = [int(np.flatnonzero(line.all(0))[0]) for line in lines if line.all(0).any()]
    assert len(set(columns)) > 20
    assert all((column - 7) % 40 >= 5 or (39 - column - 7) % 40 >= 4 for column in columns)


def test_changes_of_tone_keep_the_picture_or_blur_it():
    found = fills(fill_tone)
    roughness = np.abs(np.diff(SCENE.image.astype(int), axis=1)).mean()
    assert {fill.opacity for fill in found} == {1.0}
    blurred = [fill for fill in found if not np.array_equal(fill.picture, SCENE.image)]
    assert len(blurred) / len(found) == pytest.approx(0.3, abs=0.07)
    for fill in blurred:
        assert fill.gain == 1
        assert abs(fill.picture.mean() - SCENE.image.mean()) < 1
        assert np.abs(np.diff(fill.picture.astype(int), axis=1)).mean() < 0.95 * roughness
    toned = [fill for fill in found if np.array_equal(fill.picture, SCENE.image)]
    mean = SCENE.image.mean((0, 1)) / 255
    tinted = 0
    for fill in toned:
        value = fill.gain * SCENE.image / 255 + fill.share * mean + fill.shift
        shift = value.mean((0, 1)) - mean
        assert 0 < np.abs(shift).max() <= 0.4
        assert value.std(axis=(0, 1)) == pytest.approx(
            fill.gain * SCENE.image.std(axis=(0, 1)) / 255
        )
        assert 0.3 <= fill.gain <= 1.5
        tinted += np.ptp(shift) > 1e-6
        if np.ptp(shift) <= 1e-6:
            assert abs(shift[0]) >= 0.06
    assert tinted / len(toned) == pytest.approx(0.5, abs=0.1)


def test_flat_fills_have_one_colour_and_some_noise():
    found = fills(fill_flat)
    assert all(0.3 <= fill.opacity <= 1 for fill in found)
    colours = np.array([fill.picture.mean((0, 1)) for fill in found])
    assert (np.ptp(colours, axis=1) > 8).mean() == pytest.approx(0.5, abs=0.1)
    noise = np.array([fill.picture[..., 1].std() for fill in found])
    assert noise.min() < 2
    assert 15 < noise.max() < 27  # a tenth of the range
    assert colours.min() < 20
    assert colours.max() > 235


def test_tones_are_lighter_and_darker_and_parts_of_any_contrast():
    shifts = [float(np.mean(fill.shift)) for fill in fills(fill_tone, GREY) if fill.share]
    assert np.mean(np.array(shifts) > 0) == pytest.approx(0.5, abs=0.08)
    assert min(map(abs, shifts)) == pytest.approx(0.06, abs=0.01)
    assert max(map(abs, shifts)) == pytest.approx(0.4, abs=0.01)
    gains = [fill.gain for fill in fills(fill_self)]
    assert (min(gains), max(gains)) == pytest.approx((0.7, 1.3), abs=0.01)


@pytest.mark.parametrize(
    ("function", "least"), [(fill_flat, 0.3), (fill_self, 0.4), (fill_texture, 0.2)]
)
def test_how_much_of_the_image_shines_through(function, least):
    opacities = np.array([fill.opacity for fill in fills(function)])
    most = 0.6 if function is fill_texture else 1.0
    assert (opacities.min(), opacities.max()) == pytest.approx((least, most), abs=0.01)
    assert opacities.mean() == pytest.approx((least + most) / 2, abs=0.03)
