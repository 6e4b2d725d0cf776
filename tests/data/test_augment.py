"""The augmentation of DeSTSeg's official code, and its independent random draws."""

import albumentations
import numpy as np
import pytest

from padseg.data import pipelines
from padseg.data.augment import CATEGORY_GROUPS, Augmentation, normal_augmentation, texture_jitter

SIZE = 64
DRAWS = 1200
OPERATORS = (
    "RandomGamma",
    "RandomBrightnessContrast",
    "Sharpen",
    "HueSaturationValue",
    "Solarize",
    "Posterize",
    "InvertImg",
    "AutoContrast",
    "Equalize",
    "Rotate",
)


def test_groups_are_the_official_lists():
    groups = {
        name: {k for k, v in CATEGORY_GROUPS.items() if v == name}
        for name in ("none", "slight", "full")
    }
    assert groups["none"] == {"capsule", "metal_nut", "pill", "toothbrush", "transistor"}
    assert groups["slight"] == {"cable", "wood", "zipper"}
    assert groups["full"] == {"bottle", "carpet", "grid", "hazelnut", "leather", "screw", "tile"}
    assert normal_augmentation("none", (SIZE, SIZE)) is None


def angles(group: str, size: tuple[int, int]) -> np.ndarray:
    """By how many degrees a bright bar, from the centre to the right, is turned."""
    height, width = size
    image = np.zeros((*size, 3), np.uint8)
    image[height // 2 - 2 : height // 2 + 2, width // 2 :] = 255
    augment = normal_augmentation(group, size)
    found = []
    for seed in range(DRAWS):
        bright = np.clip(augment(image, seed)[..., 0] - 114.0, 0, None)  # above the fill's grey
        y, x = np.indices(size)
        up = (bright * ((height - 1) / 2 - y)).sum()
        right = (bright * (x - (width - 1) / 2)).sum()
        found.append(np.degrees(np.arctan2(up, right)))
    return np.array(found)


@pytest.mark.parametrize(
    ("group", "size", "turns"),
    [
        ("slight", (SIZE, SIZE), [0]),
        ("full", (SIZE, SIZE), [0, 90, 180, -90]),
        ("full", (SIZE, 2 * SIZE), [0, 180]),
    ],
)
def test_turns_and_small_angles_are_uniform_and_independent(group, size, turns):
    found = angles(group, size)
    # The nearest turn, and what is left of the angle.
    left = (found[:, None] - np.array(turns) + 180) % 360 - 180
    turn = np.abs(left).argmin(1)
    small = left[np.arange(DRAWS), turn]
    assert 4.8 < np.abs(small).max() < 5.5
    table, _, _ = np.histogram2d(
        turn, small, [np.arange(len(turns) + 1) - 0.5, [-6, -5 / 3, 5 / 3, 6]]
    )
    expected = DRAWS / table.size
    # Chi-squared of 11 degrees of freedom is above 38 once in ten thousand.
    assert ((table - expected) ** 2 / expected).sum() < 38


def seeded(part, seeds: np.random.Generator) -> None:
    """Albumentations' own seeding, part by part from the outside."""
    part.set_random_seed(int(seeds.integers(2**32)))
    for inner in getattr(part, "transforms", ()):
        seeded(inner, seeds)


def test_draws_are_those_of_albumentations_own_seeds():
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    turns = albumentations.Compose([albumentations.RandomRotate90(p=1), pipelines._rotate(5, 114)])
    pairs = [
        (pipelines.rotations(quarter_turns=True, square=True), turns),
        (pipelines.jitter(), pipelines.jitter()),
    ]
    for ours, reference in pairs:
        for seed in range(40):
            seeded(reference, np.random.default_rng(seed))
            expected = reference(image=image, mask=image[..., 0])
            found = Augmentation(ours).with_mask(image, image[..., 0], seed)
            assert np.array_equal(found[0], expected["image"])
            assert np.array_equal(found[1], expected["mask"])


def test_exposed_corners_are_grey_and_no_mask():
    augment = normal_augmentation("slight", (SIZE, SIZE))
    image, mask = augment.with_mask(
        np.full((SIZE, SIZE, 3), 255, np.uint8), np.full((SIZE, SIZE), 255, np.uint8), seed=3
    )
    assert image[0, 0].tolist() in ([114] * 3, [255] * 3)
    assert image.min() == 114
    assert mask.min() == 0
    assert np.array_equal(augment(np.full((SIZE, SIZE, 3), 255, np.uint8), 3), image)


def test_three_operators_in_any_order_with_draws_of_their_own(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    applied = []

    def note(operator):
        apply = operator.apply

        def noted(self, img, *args, **params):
            applied[-1][operator.__name__] = params
            return apply(self, img, *args, **params)

        monkeypatch.setattr(operator, "apply", noted)

    for name in OPERATORS:
        note(getattr(albumentations, name))
    jitter = texture_jitter()
    for seed in range(DRAWS):
        applied.append({})
        jitter(image, seed)

    # Solarising is left out every second time.
    assert all(len(one) == 3 or (len(one) == 2 and "Solarize" not in one) for one in applied)
    assert {name for one in applied for name in one} == set(OPERATORS)
    both = [list(one) for one in applied if {"InvertImg", "Rotate"} <= set(one)]
    first = np.mean([one.index("InvertImg") < one.index("Rotate") for one in both])
    assert 0.3 < first < 0.7

    def draws(one, other):
        pairs = [(a[one[0]], a[other[0]]) for a in applied if one[0] in a and other[0] in a]
        return np.array([(one[1](a), other[1](b)) for a, b in pairs]).T

    gamma = "RandomGamma", lambda params: params["gamma"]
    turn = "Rotate", lambda params: params["matrix"][0, 1]
    hue = "HueSaturationValue", lambda params: params["hue_shift"]
    contrast = "RandomBrightnessContrast", lambda params: params["alpha"]
    for one, other in ((gamma, turn), (gamma, hue), (contrast, turn), (contrast, hue)):
        values = draws(one, other)
        assert values.shape[1] > 40
        # Four standard deviations of chance.
        assert abs(np.corrcoef(values)[0, 1]) < 4 / values.shape[1] ** 0.5
