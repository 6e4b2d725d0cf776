"""Mixed defects: shares, bits, edges, what cannot be seen, and what stays as it is."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.utils.data import default_collate

from padseg.errors import ConfigError
from padseg.synthesis import Mixture, Scene, SynthesisParams, corrupt, draw_defect
from padseg.synthesis import mixture as mixture_module
from padseg.synthesis.fills import FILLS
from padseg.synthesis.mixture import _pick
from padseg.synthesis.shapes import SHAPES

SIZE = (48, 64)
SHAPES_OFTEN = {"perlin": 0.6, "line": 0.1, "spot": 0.06, "blob": 0.1, "band": 0.04, "zone": 0.1}
ALL_SHAPES = Mixture(SHAPES_OFTEN)


def pictures(count, seed=0):
    """Smooth pictures in colour."""
    noise = np.random.default_rng(seed).normal(size=(count, *SIZE, 3))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3, 0))
    return (np.clip(smooth / smooth.std() * 0.2 + 0.5, 0, 1) * 255).astype(np.uint8)


IMAGES, TEXTURES = pictures(12), pictures(12, seed=1)


def drawn(params, numbers, foreground=None, images=IMAGES):
    return default_collate(
        [
            draw_defect(
                np.random.default_rng([7, n]),
                params,
                Scene(images[n % 12], TEXTURES[n % 12], images),
                foreground,
            )
            for n in numbers
        ]
    )


def painted(params, numbers, foreground=None, images=IMAGES):
    """Clean images, corrupted images and masks."""
    draws = drawn(params, numbers, foreground, images)
    clean = unit(torch.from_numpy(images[[n % 12 for n in numbers]]))
    return clean, *corrupt(clean, unit(draws["texture"]), draws, params)


def unit(image):
    return image.permute(0, 3, 1, 2).float() / 255


def mixed(shapes=None, fills=None, **more):
    options = {"soft_edges": 0.0, "visible": 0.0, **more}
    given = Mixture(shapes or SHAPES_OFTEN, fills or Mixture().fills, **options)
    return SynthesisParams(backend="mixed", mixture=given, exponents=(2, 4), threshold=0.2)


def test_a_sample_is_the_same_in_any_batch():
    params = SynthesisParams(backend="mixed", mixture=ALL_SHAPES)
    whole = painted(params, range(30))
    for step in (1, 7):
        parts = [
            painted(params, range(first, min(30, first + step))) for first in range(0, 30, step)
        ]
        for ours, theirs in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(ours, torch.cat(theirs))


def test_same_bits_for_any_number_of_threads():
    params, before = SynthesisParams(backend="mixed", mixture=ALL_SHAPES), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(painted(params, range(16)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_same_bits_where_samples_are_not_selected(monkeypatch):
    """As on an accelerator, which would have to wait for the choice."""
    params = SynthesisParams(backend="mixed", mixture=ALL_SHAPES, probability=0.8)
    expected = painted(params, range(20))
    monkeypatch.setattr("padseg.synthesis.perlin.selects_samples", lambda device: False)
    monkeypatch.setattr("padseg.synthesis.mixture.selects_samples", lambda device: False)
    assert all(map(torch.equal, painted(params, range(20)), expected))


def on(device, draws):
    return {name: value.to(device) for name, value in draws.items()}


def test_an_accelerator_is_never_asked():
    # The meta device has no values: whatever would have to read one fails.
    params = SynthesisParams(backend="mixed", mixture=ALL_SHAPES, retries=1)
    draws = on("meta", drawn(params, range(4), torch.ones(SIZE, dtype=torch.uint8)))
    clean = torch.rand(4, 3, *SIZE, device="meta")
    corrupted, mask = corrupt(clean, clean, draws, params)
    assert (corrupted.shape, mask.shape) == (clean.shape, (4, 1, *SIZE))


@pytest.mark.gpu
def test_on_a_gpu(gpu, never_waits):
    params = SynthesisParams(backend="mixed", mixture=ALL_SHAPES)
    clean, corrupted, mask = painted(params, range(32))
    draws = on(gpu, drawn(params, range(32)))
    clean, texture = clean.to(gpu), unit(draws["texture"])
    with never_waits():
        ours = corrupt(clean, texture, draws, params)
    assert (ours[1].cpu() != mask).float().mean() < 1e-4
    assert ((ours[0].cpu() - corrupted).abs() > 1e-5).float().mean() < 1e-4
    again = corrupt(clean[3:4], texture[3:4], {k: v[3:4] for k, v in draws.items()}, params)
    assert all(torch.equal(one[0], many[3]) for one, many in zip(again, ours, strict=True))


def test_weights_are_shares():
    rng = np.random.default_rng(0)
    counts = Counter(_pick(rng, {"a": 1, "b": 0, "c": 3}) for _ in range(4000))
    assert set(counts) == {"a", "c"}
    assert counts["c"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_shapes_and_fills_are_drawn_by_their_weights(monkeypatch):
    counts = Counter()

    def counting(name, function):
        def count(rng, *given):
            counts[name] += 1
            return function(rng, *given)

        return count

    for name, function in SHAPES.items():
        monkeypatch.setitem(SHAPES, name, counting(name, function))
    for name, function in FILLS.items():
        monkeypatch.setitem(FILLS, name, counting(name, function))
    count, params = 1000, SynthesisParams(backend="mixed", mixture=ALL_SHAPES)
    for n in range(count):
        scene = Scene(IMAGES[0], TEXTURES[0], IMAGES)
        draw_defect(np.random.default_rng(n), params, scene)
    # A tenth are zones, of which three fifths change the tone.
    expected = {name: SHAPES_OFTEN[name] for name in SHAPES}
    expected |= {"texture": 0.6 * 0.94, "self": 0.15 * 0.94, "flat": 0.08 * 0.94}
    expected["tone"] = 0.17 * 0.94 + 0.06
    for name, share in expected.items():
        assert counts[name] / count == pytest.approx(share, abs=4 * (share / count) ** 0.5), name


def test_by_default_all_shapes_are_perlin_masks():
    draws = drawn(SynthesisParams(backend="mixed"), range(50))
    assert draws["present"].all()
    assert not draws["drawn"].any()


def test_most_zones_change_the_tone():
    draws = drawn(mixed({"zone": 1}, {"tone": 1, "flat": 1}), range(600))
    tones = (draws["opacity"] == 1).double().mean()
    assert tones == pytest.approx(0.6 + 0.4 * 0.5, abs=0.05)


@pytest.mark.parametrize("shape", ["perlin", *SHAPES])
@pytest.mark.parametrize("fill", FILLS)
def test_the_image_changes_inside_a_hard_mask_alone(shape, fill):
    clean, corrupted, mask = painted(mixed({shape: 1}, {fill: 1}), range(10))
    assert mask.any()
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    outside = (mask == 0).expand_as(clean)
    assert torch.equal(corrupted[outside], clean[outside])
    assert 0 <= corrupted.min() <= corrupted.max() <= 1
    changed = ((corrupted != clean).any(1, keepdim=True) & (mask > 0)).sum()
    assert changed > 0.9 * mask.sum()


def test_a_soft_edge_changes_the_edge_alone():
    params = {"shapes": {"blob": 1}, "fills": {"flat": 1}}
    clean, hard, mask = painted(mixed(**params), range(12))
    _, soft, same = painted(mixed(**params, soft_edges=1), range(12))
    assert torch.equal(mask, same)
    edt = ndimage.distance_transform_edt
    away = np.stack([edt(one) + edt(1 - one) for one in mask[:, 0].numpy()])  # from the edge
    far = torch.from_numpy(away > 4)[:, None].expand_as(clean)
    torch.testing.assert_close(soft[far], hard[far], atol=1e-5, rtol=0)
    near = torch.from_numpy(away <= 1)[:, None].expand_as(clean)
    step = (hard - clean).abs()
    assert ((soft - clean).abs() * (mask == 0))[near].sum() > 0, "it reaches beyond the mask"
    assert ((soft - clean).abs() * mask)[near].sum() < 0.9 * (step * mask)[near].sum()


def test_what_cannot_be_seen_is_no_defect():
    """The image's own colours with little opacity on flat images."""
    flat = np.full_like(IMAGES, 100)
    params = mixed({"blob": 1}, {"tone": 1}, visible=0.015)
    _, corrupted, mask = painted(params, range(60), images=flat)
    clean, every, shown = painted(mixed({"blob": 1}, {"tone": 1}), range(60), images=flat)
    areas = shown.sum((1, 2, 3))
    change = ((every - clean).abs().amax(1) * shown[:, 0]).sum((1, 2)) / areas.clamp(min=1)
    kept = change > 0.0155
    gone = change < 0.0145
    assert kept.sum() > 10
    assert gone.sum() > 3
    assert torch.equal(mask[kept], shown[kept])
    assert torch.equal(corrupted[kept], every[kept])
    assert not mask[gone].any()
    assert torch.equal(corrupted[gone], clean[gone])


def test_a_share_of_the_samples_stays_clean():
    params = SynthesisParams(backend="mixed", probability=0.3, mixture=Mixture({"blob": 1}))
    clean, corrupted, mask = painted(params, range(200))
    painted_ones = mask.flatten(1).any(1)
    assert 0.15 < painted_ones.float().mean() < 0.4
    assert torch.equal(corrupted[~painted_ones], clean[~painted_ones])


@pytest.mark.parametrize("shape", ["perlin", *SHAPES])
def test_defects_stay_on_the_foreground_where_they_were(shape):
    foreground = torch.zeros(SIZE, dtype=torch.uint8)
    foreground[:, :20] = 1
    params = mixed({shape: 1}, {"flat": 1})
    _, _, anywhere = painted(params, range(20))
    _, _, kept = painted(params, range(20), foreground)
    assert kept.any()
    assert torch.equal(kept, anywhere * foreground)


def test_mean_colours_do_not_depend_on_the_order():
    rng = torch.Generator().manual_seed(0)
    values = torch.rand(4, 3, 90, 70, generator=rng)
    mask = torch.rand(4, 1, 90, 70, generator=rng) > 0.6
    mean = mixture_module._mean_under(mask.float(), values)
    expected = (values * mask).sum((2, 3)) / mask.sum((2, 3))
    torch.testing.assert_close(mean, expected, atol=1e-4, rtol=0)
    turned = mixture_module._mean_under(mask.float().flip(2, 3), values.flip(2, 3))
    assert torch.equal(turned, mean)
    assert (mixture_module._mean_under(torch.zeros(4, 1, 90, 70), values) == 0).all()


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"shapes": {"lines": 1}}, "mixture.shapes is 'lines'; give one of perlin, line, spot"),
        ({"fills": {"tones": 1}}, "mixture.fills is 'tones'; give one of texture, self, tone"),
        ({"shapes": {}}, "mixture.shapes .* one of them above 0"),
        ({"shapes": {"line": 0}}, "mixture.shapes .* one of them above 0"),
        ({"fills": {"tone": -1, "flat": 2}}, "mixture.fills .* weights of 0 or more"),
        ({"fills": {"tone": float("nan")}}, "mixture.fills .* weights of 0 or more"),
        ({"soft_edges": 1.5}, "mixture.soft_edges is 1.5"),
        ({"visible": -0.1}, "mixture.visible is -0.1"),
    ],
)
def test_bad_mixtures_are_refused(bad, told):
    with pytest.raises(ConfigError, match=told):
        Mixture(**bad)


def test_a_mixture_needs_its_back_end():
    with pytest.raises(
        ConfigError, match='no effect with backend "perlin": set backend to "mixed"'
    ):
        SynthesisParams(mixture=Mixture(soft_edges=0.1))
