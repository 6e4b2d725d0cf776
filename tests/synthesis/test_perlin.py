"""Perlin masks against DRAEM's procedure written out per sample, and against published statistics."""

import math
import sys
import time
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from noise import pnoise2
from scipy import ndimage
from torch.utils.data import default_collate

from padseg.errors import ConfigError
from padseg.synthesis import SynthesisParams, draw, perlin_mask, perlin_noise
from padseg.synthesis import perlin as perlin_module
from padseg.synthesis import rotate as rotate_module

IDENTITY = (1.0, 0.0)


def batch(params, count, seed=0):
    return default_collate([draw(np.random.default_rng([seed, n]), params) for n in range(count)])


def lattice(count, exponent=5, seed=0):
    """Gradients of `count` full lattices."""
    return batch(SynthesisParams(exponents=(0, exponent)), count, seed)["gradients"][:, 0]


def pairs(values):
    return torch.tensor(values, dtype=torch.float32)


def draem_noise(gradients, cells, size):
    """DRAEM's unrotated noise of one lattice in float64: a coordinate grid, repeated gradients."""
    steps = [side // cell for side, cell in zip(size, cells, strict=True)]
    axes = [np.arange(side) * cell / side for side, cell in zip(size, cells, strict=True)]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1) % 1

    def corner(row, column):
        part = gradients[row : row + cells[0], column : column + cells[1]]
        repeated = part.repeat(steps[0], axis=0).repeat(steps[1], axis=1)
        return (repeated * (offsets - np.array((row, column)))).sum(-1)

    fade = 6 * offsets**5 - 15 * offsets**4 + 10 * offsets**3
    upper = corner(0, 0) + fade[..., 1] * (corner(0, 1) - corner(0, 0))
    lower = corner(1, 0) + fade[..., 1] * (corner(1, 1) - corner(1, 0))
    return math.sqrt(2) * (upper + fade[..., 0] * (lower - upper))


@pytest.mark.parametrize("cells", [(1, 1), (1, 32), (8, 2), (32, 32)])
@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_unrotated_noise_is_draems(cells, size):
    gradients = lattice(1)
    ours = perlin_noise(gradients, pairs([cells]), pairs([IDENTITY]), size)[0]
    expected = draem_noise(gradients[0].double().numpy(), cells, size)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("degrees", [-75, -20, 35, 90])
@pytest.mark.parametrize("size", [(96, 96), (64, 96)])
def test_rotation_is_that_of_the_picture(degrees, size):
    gradients, cells = lattice(1, 2), pairs([(4, 2)])
    angle = math.radians(degrees)
    ours = perlin_noise(gradients, cells, pairs([(math.cos(angle), math.sin(angle))]), size)[0]
    picture = perlin_noise(gradients, cells, pairs([IDENTITY]), size)[0].numpy()
    turned = ndimage.rotate(picture, degrees, reshape=False, order=1)
    inside = ndimage.rotate(np.ones(size), degrees, reshape=False, order=0, cval=0) > 0
    # What is left is the error of resampling, and which side of the edge a border pixel falls on.
    core = ndimage.binary_erosion(inside, iterations=2, border_value=1)
    away = ndimage.binary_erosion(~inside, iterations=2, border_value=1)
    np.testing.assert_allclose(ours.numpy()[core], turned[core], atol=0.02)
    assert (ours.numpy()[away] == 0).all()


@pytest.mark.parametrize("degrees", [-75, -20, 0, 35, 90])
@pytest.mark.parametrize("size", [(96, 96), (64, 96), (7, 5)])
def test_resampled_noise_is_the_rotated_picture(degrees, size):
    gradients, cells = lattice(1, 2), pairs([(4, 2)])
    angle = math.radians(degrees)
    rotation = pairs([(math.cos(angle), math.sin(angle))])
    ours = perlin_noise(gradients, cells, rotation, size, resampled=True)[0]
    picture = perlin_noise(gradients, cells, pairs([IDENTITY]), size)[0].numpy()
    turned = ndimage.rotate(picture, degrees, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(ours.numpy(), turned, atol=1e-4)
    if degrees == 0:
        assert (ours.numpy() == picture).all()


def test_resampled_masks_have_the_area_of_draems_procedure():
    """The noise of DRAEM, rotated by OpenCV as its authors' imgaug does, beside both ways of padseg."""
    params, count, size = SynthesisParams(), 200, (128, 128)
    draws = batch(params, count)
    gradients = draws["gradients"][:, 0].double().numpy()
    published = np.zeros((count, *size), bool)
    for n in range(count):
        picture = draem_noise(gradients[n], draws["cells"][n, 0].int().tolist(), size)
        cos, sin = draws["rotation"][n, 0].tolist()
        degrees = math.degrees(math.atan2(sin, cos))
        matrix = cv2.getRotationMatrix2D((63.5, 63.5), degrees, 1)
        published[n] = cv2.warpAffine(picture.astype(np.float32), matrix, size) > 0.5
    evaluated = perlin_mask(draws, params, size)[:, 0].numpy()
    resampled = perlin_mask(draws, replace(params, resampled=True), size)[:, 0].numpy()
    assert resampled.mean() / published.mean() == pytest.approx(1, abs=2e-3)
    assert (resampled != published).mean() < 1e-3
    # A cell has half as many pixels as at 256x256, where the ratio is 1.013.
    assert 1.03 < evaluated.mean() / published.mean() < 1.15


def test_quarter_turn_is_rot90():
    gradients, cells = lattice(3, 4), pairs([(16, 2), (4, 4), (1, 8)])
    quarter = pairs([(math.cos(math.pi / 2), math.sin(math.pi / 2))] * 3)
    turned = perlin_noise(gradients, cells, quarter, (64, 64))
    picture = perlin_noise(gradients, cells, pairs([IDENTITY] * 3), (64, 64))
    interior = slice(1, -1)
    torch.testing.assert_close(
        turned[:, interior, interior],
        torch.rot90(picture, 1, (1, 2))[:, interior, interior],
        atol=1e-5,
        rtol=0,
    )


def test_agrees_with_pnoise2_on_its_own_gradients():
    step, side = 2.0**-8, 9
    probed = [
        [
            (round(pnoise2(i + step, j) / step), round(pnoise2(i, j + step) / step))
            for j in range(side)
        ]
        for i in range(side)
    ]
    size = (40, 56)
    ours = perlin_noise(pairs([probed]), pairs([(8, 4)]), pairs([IDENTITY]), size)[0]
    expected = [
        [pnoise2(y * 8 / size[0], x * 4 / size[1]) for x in range(size[1])] for y in range(size[0])
    ]
    np.testing.assert_allclose(ours.numpy(), math.sqrt(2) * np.array(expected), atol=2e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 100), (100, 33), (3, 70)])
def test_any_size(size):
    masks = perlin_mask(batch(SynthesisParams(), 6), SynthesisParams(), size)
    assert masks.shape == (6, 1, *size)
    assert set(masks.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("size", [(64, 64), (45, 83)])
@pytest.mark.parametrize(("retries", "resampled"), [(0, False), (2, False), (1, True)])
@pytest.mark.parametrize("points", [900, 2**13, 2**23])
def test_same_bits_for_any_split(monkeypatch, size, retries, resampled, points):
    params = SynthesisParams(
        exponents=(0, 3), probability=0.8, retries=retries, resampled=resampled
    )
    draws = batch(params, 12)
    noise_of = [draws[key][:, 0] for key in ("gradients", "cells", "rotation")]
    noise = perlin_noise(*noise_of, size, resampled)
    masks = perlin_mask(draws, params, size)

    monkeypatch.setattr(perlin_module, "_CHUNK_CPU", points)
    monkeypatch.setattr(rotate_module, "_CHUNK_CPU", points)
    for step in (1, 5, 12):
        parts = [slice(n, n + step) for n in range(0, 12, step)]
        again = torch.cat(
            [perlin_noise(*(t[part] for t in noise_of), size, resampled) for part in parts]
        )
        assert (again == noise).all()
        split = [
            perlin_mask({k: t[part] for k, t in draws.items()}, params, size) for part in parts
        ]
        assert (torch.cat(split) == masks).all()


@pytest.mark.slow
def test_same_bits_for_any_number_of_threads():
    params = SynthesisParams()
    draws, before = batch(params, 8), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(perlin_mask(draws, params, (256, 256)))
    finally:
        torch.set_num_threads(before)
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


def test_draw_depends_on_its_generator_alone():
    params = SynthesisParams(retries=1)
    first = draw(np.random.default_rng([3, 7]), params)
    draw(np.random.default_rng([3, 8]), params)
    second = draw(np.random.default_rng([3, 7]), params)
    assert {key: (tuple(t.shape), t.dtype) for key, t in first.items()} == {
        "present": ((), torch.bool),
        "opacity": ((), torch.float32),
        "gradients": ((2, 33, 33, 2), torch.float32),
        "cells": ((2, 2), torch.float32),
        "rotation": ((2, 2), torch.float32),
    }
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(
        first["gradients"], draw(np.random.default_rng([3, 8]), params)["gradients"]
    )


def test_draw_stays_as_it_is():
    # Written down once: a change here changes the training pairs of every seed.
    sample = draw(np.random.default_rng(0), SynthesisParams())
    assert sample["opacity"].item() == pytest.approx(0.4158294, abs=1e-6)
    assert sample["cells"].tolist() == [[2.0, 1.0]]
    assert sample["rotation"][0].tolist() == pytest.approx([0.0518998, -0.9986523], abs=1e-6)
    assert sample["gradients"][0, 0, 0].tolist() == pytest.approx([0.3871501, -0.9220167], abs=1e-6)


def test_draw_ranges():
    params = SynthesisParams(exponents=(1, 3), rotation=30.0, opacity=(0.4, 0.6), probability=0.5)
    draws = batch(params, 600)
    assert sorted(draws["cells"].unique().tolist()) == [2.0, 4.0, 8.0]
    assert len({tuple(pair) for pair in draws["cells"][:, 0].tolist()}) == 9
    torch.testing.assert_close(draws["gradients"].norm(dim=-1), torch.ones(600, 1, 9, 9))
    angles = torch.rad2deg(torch.atan2(draws["rotation"][..., 1], draws["rotation"][..., 0]))
    assert -30 <= angles.min() < -28
    assert 28 < angles.max() <= 30
    assert 0.4 <= draws["opacity"].min() < 0.41
    assert 0.59 < draws["opacity"].max() <= 0.6
    assert draws["present"].float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_default_opacity_is_one_minus_draems_blend():
    opacity = batch(SynthesisParams(exponents=(0, 0)), 2000)["opacity"]
    assert 0.2 <= opacity.min() < 0.21
    assert 0.99 < opacity.max() <= 1.0
    assert opacity.mean().item() == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probability(probability):
    params = SynthesisParams(exponents=(3, 5), probability=probability)
    masks = perlin_mask(batch(params, 20), params, (64, 64))
    assert (masks.flatten(1).any(1) == bool(probability)).all()


@pytest.mark.parametrize("selects", [True, False])
def test_retries_take_the_first_candidate_that_is_not_empty(monkeypatch, selects):
    monkeypatch.setattr(perlin_module, "selects_samples", lambda device: selects)
    params = SynthesisParams(exponents=(0, 1), probability=0.9, retries=3)
    draws = batch(params, 60)
    masks = perlin_mask(draws, params, (48, 48))
    chosen = []
    for n in range(60):
        expected = torch.zeros(48, 48)
        if draws["present"][n]:
            for candidate in range(4):
                one = [draws[k][n : n + 1, candidate] for k in ("gradients", "cells", "rotation")]
                expected = (perlin_noise(*one, (48, 48))[0] > params.threshold).float()
                if expected.any():
                    chosen.append(candidate)
                    break
        assert (masks[n, 0] == expected).all()
    assert {0, 1, 2} <= set(chosen)  # else this test has tried nothing


def test_more_retries_keep_the_first_candidates():
    few, many = (batch(SynthesisParams(retries=retries), 5) for retries in (0, 3))
    assert all(torch.equal(few[k], many[k]) for k in ("present", "opacity"))
    for key in ("gradients", "cells", "rotation"):
        assert torch.equal(few[key][:, 0], many[key][:, 0])


def test_what_the_rotation_uncovers_is_never_masked():
    params = SynthesisParams(threshold=0.0, exponents=(2, 2))
    draws = batch(params, 4)
    draws["rotation"][:] = torch.tensor([math.cos(math.pi / 4), math.sin(math.pi / 4)])
    masks = perlin_mask(draws, params, (64, 64))[:, 0]
    assert not masks[:, :9, :9].any()
    assert not masks[:, -9:, -9:].any()
    assert (masks.mean((1, 2)) > 0.2).all()


def test_inputs_are_left_alone():
    params = SynthesisParams(retries=1)
    draws = batch(params, 4)
    copies = {key: t.clone() for key, t in draws.items()}
    perlin_mask(draws, params, (32, 32))
    assert all(torch.equal(draws[key], copies[key]) for key in draws)


@pytest.mark.parametrize("resampled", [False, True])
def test_an_accelerator_is_never_asked(resampled):
    # The meta device has no values: whatever would have to read one fails.
    params = SynthesisParams(retries=2, resampled=resampled)
    draws = {key: t.to("meta") for key, t in batch(params, 4).items()}
    assert perlin_mask(draws, params, (40, 24)).shape == (4, 1, 40, 24)


@pytest.mark.gpu
def test_on_a_gpu(gpu, never_waits):
    params = SynthesisParams(retries=1, probability=0.9)
    draws = batch(params, 32)
    expected = perlin_mask(draws, params, (256, 256))
    there = {key: t.to(gpu) for key, t in draws.items()}
    with never_waits():
        masks = perlin_mask(there, params, (256, 256))
    assert (masks.cpu() != expected).float().mean() < 1e-4
    for n in range(32):
        alone = perlin_mask({k: t[n : n + 1] for k, t in there.items()}, params, (256, 256))
        assert (alone[0] == masks[n]).all()


def fractions(params, count, size, cells=None):
    """Masked fraction of each of `count` draws, and the extremes of the noise."""
    found, low, high = [], 0.0, 0.0
    for start in range(0, count, 50):
        part = [
            draw(np.random.default_rng([1, n]), params)
            for n in range(start, min(start + 50, count))
        ]
        draws = default_collate(part)
        if cells:
            draws["cells"] = torch.tensor(cells).float().expand_as(draws["cells"])
        found.append(perlin_mask(draws, params, size).mean((1, 2, 3)))
        noise = perlin_noise(
            draws["gradients"][:, 0], draws["cells"][:, 0], draws["rotation"][:, 0], size
        )
        low, high = min(low, noise.min().item()), max(high, noise.max().item())
    return torch.cat(found).double().numpy(), low, high


def check_statistics(count, size, slack):
    """Values of 3000 draws of DRAEM's procedure at 256x256, rotated with scipy."""
    masked, low, high = fractions(SynthesisParams(), count, size)
    assert low > -1.001
    assert high < 1.001
    assert masked.mean() == pytest.approx(0.049, abs=0.003 * slack)
    assert np.median(masked) == pytest.approx(0.046, abs=0.002 * slack)
    assert np.quantile(masked, 0.9) == pytest.approx(0.074, abs=0.004 * slack)
    assert 0.2 < masked.max() < 0.7
    assert (masked == 0).mean() == pytest.approx(0.046, abs=0.01 * slack)


def check_statistics_of_a_lattice(cells, mean, empty, count, size):
    masked, _, _ = fractions(SynthesisParams(), count, size, cells)
    assert masked.mean() == pytest.approx(mean[0], abs=mean[1])
    assert (masked == 0).mean() == pytest.approx(empty[0], abs=empty[1])


# Mean masked fraction and share of empty masks, with what some 80 draws of the procedure per lattice
# leave open. It resamples the picture of the noise, which takes the peaks off fine lattices: there
# 4.4 % is masked, and 4.8 % where the noise itself is evaluated.
BY_LATTICE = [
    ((1, 1), (0.064, 0.025), (0.53, 0.12)),
    ((1, 2), (0.054, 0.015), (0.34, 0.12)),
    ((2, 2), (0.048, 0.010), (0.14, 0.10)),
    ((4, 4), (0.047, 0.006), (0.0, 0.01)),
    ((8, 32), (0.047, 0.002), (0.0, 0.0)),
    ((32, 32), (0.047, 0.002), (0.0, 0.0)),
]


def test_statistics():
    check_statistics(600, (128, 128), slack=2)


@pytest.mark.parametrize(("cells", "mean", "empty"), BY_LATTICE)
def test_statistics_by_lattice(cells, mean, empty):
    check_statistics_of_a_lattice(cells, mean, empty, 250, (96, 96))


@pytest.mark.slow
def test_statistics_of_3000_draws():
    check_statistics(3000, (256, 256), slack=1)


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "mean", "empty"), BY_LATTICE)
def test_statistics_of_1000_draws_by_lattice(cells, mean, empty):
    check_statistics_of_a_lattice(cells, mean, empty, 1000, (256, 256))


def _best(call, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


@pytest.mark.slow
def test_speed_beside_draems_procedure():
    """`pytest tests/synthesis -m slow -k speed -s` shows ms per 256x256 mask, on one thread."""
    params, size = SynthesisParams(), (256, 256)
    draws = batch(params, 32)
    gradients = draws["gradients"][:, 0].double().numpy()
    cells = draws["cells"][:, 0].int().tolist()

    def procedure():
        for n in range(32):
            picture = draem_noise(gradients[n], cells[n], size)
            ndimage.rotate(picture, 40, reshape=False, order=1) > 0.5  # noqa: B015

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        reference = _best(procedure, 3) / 32
        batched = _best(partial(perlin_mask, draws, params, size), 10) / 32
        drawing = _best(partial(draw, np.random.default_rng(0), params), 100)
        large = _best(partial(perlin_mask, draws, params, (1024, 1024)), 2) / 32
    finally:
        torch.set_num_threads(before)
    sys.stdout.write(
        f"\nper-sample procedure {reference:.2f} ms, perlin_mask {batched:.2f} ms "
        f"({reference / batched:.1f} times faster), draw {drawing:.2f} ms; "
        f"perlin_mask at 1024x1024 {large:.1f} ms\n"
    )
    assert batched < reference / 2


BAD = [
    {"exponents": (3, 2)},
    {"exponents": (-1, 2)},
    {"exponents": (0, 9)},
    {"exponents": (0.0, 2)},
    {"exponents": (1,)},
    {"threshold": -0.1},
    {"threshold": 1.0},
    {"threshold": math.nan},
    {"rotation": -1.0},
    {"rotation": 181.0},
    {"rotation": math.inf},
    {"opacity": (0.6, 0.4)},
    {"opacity": (-0.1, 0.4)},
    {"opacity": (0.2, 1.1)},
    {"opacity": (0.2,)},
    {"opacity": (math.nan, 1.0)},
    {"probability": -0.1},
    {"probability": 1.1},
    {"probability": math.nan},
    {"retries": -1},
    {"retries": 1.5},
    {"backend": "simplex"},
    {"octaves": 0, "backend": "noise"},
    {"octaves": 9, "backend": "noise"},
    {"octaves": 2},
    {"resampled": True, "backend": "noise"},
    {"mixture": {"soft_edges": 0.1}, "backend": "mixed"},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_parameter(bad):
    told = rf"option {next(iter(bad))} is .*(must be|give one of) .*\.$"
    with pytest.raises(ConfigError, match=told):
        replace(SynthesisParams(), **bad)
