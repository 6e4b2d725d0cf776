"""Overlays, and pictures under a verdict."""

import numpy as np
import pytest

from padseg.drawing import Banner, HeatScale, judged, overlay, panels
from padseg.drawing.contour import outline
from padseg.drawing.heat import tint
from padseg.drawing.sheet import Label, sheet

ORANGE, BLUE, GREY = (192, 78, 0), (0, 114, 178), (88, 100, 116)
FOUND = Banner("ANOMALOUS", True, "score 0.8312 > 0.5000")


def picture_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (*shape, 3), dtype=np.uint8)


def spot(shape):
    score_map = np.zeros(shape, np.float32)
    score_map[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 0.5
    return score_map


def test_an_overlay_is_tint_and_outline():
    image, score_map = picture_of((40, 40)), spot((40, 40))
    scale = HeatScale(0.2)
    tinted = tint(image, score_map, scale)
    assert (overlay(image, score_map, scale, outlined=False) == tinted).all()
    assert (overlay(image, score_map, scale) == outline(tinted, score_map > 0.2)).all()
    assert (overlay(image, score_map, HeatScale(0.6)) == image).all()
    # Without a threshold there is nothing to outline.
    linear = HeatScale(None, 0.5)
    assert (overlay(image, score_map, linear) == tint(image, score_map, linear)).all()


@pytest.mark.parametrize("shape", [(256, 256), (300, 500), (900, 300)])
def test_the_image_stands_beside_its_overlay(shape):
    image, score_map = picture_of(shape), spot(shape)
    picture = np.array(judged(image, score_map, HeatScale(0.2), FOUND))
    laid = overlay(image, score_map, HeatScale(0.2))
    gap = picture.shape[1] - 2 * shape[1]
    assert 0 < gap < 40
    assert picture.shape[0] > shape[0] + 20
    for expected in (image, laid):
        assert holds(picture, expected)
    assert (picture[1, 1] == ORANGE).all()


def test_wide_images_are_stacked():
    image = picture_of((300, 900))
    picture = np.array(judged(image, spot((300, 900)), HeatScale(0.2), FOUND))
    assert picture.shape[1] < 1000
    assert picture.shape[0] > 2 * 300
    assert holds(picture, image)


@pytest.mark.parametrize(
    "shape",
    [(20, 30), (64, 64), (1, 400), (400, 1), pytest.param((2000, 3000), marks=pytest.mark.slow)],
)
def test_the_verdict_is_legible_at_any_size(shape):
    image = picture_of(shape)
    drawn = [
        np.array(judged(image, spot(shape), HeatScale(0.2), Banner(verdict, alarm, score)))
        for verdict, alarm, score in (
            ("ANOMALOUS", True, "score 0.8312 > 0.5000"),
            ("ANOMALOUS", True, "score 0.8313 > 0.5000"),
            ("NORMAL", False, "score 0.8312 > 0.5000"),
        )
    ]
    assert drawn[0].shape[1] >= 256
    letters = [(picture > 240).all(axis=-1) for picture in drawn]
    rows = np.flatnonzero(letters[0][: drawn[0].shape[0] // 2, : drawn[0].shape[1] // 4].any(1))
    assert rows.size >= 9
    # As large on a screen that shows the picture whole.
    shown = rows.size * min(1, 1000 / max(drawn[0].shape))
    assert shown > 6 or min(shape) == 1
    assert (letters[0] != letters[1]).any()
    assert (drawn[2][1, 1] == BLUE).all()


def test_small_images_are_enlarged():
    image = np.full((20, 30, 3), 90, np.uint8)
    image[10, 20] = 250
    picture = np.array(judged(image, np.zeros((20, 30), np.float32), HeatScale(0.2), FOUND))
    assert picture.shape[1] > 2 * 256
    assert ((picture == 90).all(axis=-1)).sum() > 2 * 0.9 * (9 * 20) * (9 * 30)


def test_a_normal_image_has_no_outline():
    image, score_map = np.full((256, 256, 3), 90, np.uint8), spot((256, 256))
    for outlined in (False, True):
        passed = Banner("NORMAL", False, "score 0.1000 <= 0.5000")
        picture = np.array(judged(image, score_map, HeatScale(0.2), passed, outlined=outlined))
        assert (picture[60:] == 255).all(axis=-1).any() == outlined
        assert (picture == 90).all(axis=-1).sum() < 2 * 256**2  # tinted in both


@pytest.mark.parametrize("shape", [(256, 256), (64, 32), (40, 90)])
def test_panels(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    image[: shape[0] // 2] = (10, 20, 30)
    mask = np.zeros(shape, dtype=bool)
    mask[:, : shape[1] // 2] = True
    score_map = mask * np.float32(0.5)
    title = Banner("missed defect", True, "score 0.5000 <= 0.7000", "ä/漢.png")
    picture = np.array(panels(image, mask, score_map, HeatScale(0.25), title))
    factor = 256 / max(shape)
    height, width = round(shape[0] * factor), round(shape[1] * factor)
    assert (picture[1, 1] == ORANGE).all()
    for colour in ((10, 20, 30), (200, 200, 200)):
        assert (picture == colour).all(axis=-1).sum() > 0.4 * height * width
    assert (picture == 255).all(axis=-1).sum() > 0.4 * height * width  # the mask
    assert (picture == 0).all(axis=-1).sum() > 0.4 * height * width
    plain = np.array(panels(image, mask, score_map, HeatScale(0.25), title, outlined=False))
    assert (plain != picture).any()


def test_letters_that_the_font_lacks_are_spelled_out():
    image, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), dtype=bool)
    drawn = [
        np.array(
            panels(image, mask, mask / np.float32(2), HeatScale(0.2), Banner("x", None, "", name))
        )
        for name in ("Prüfteil größer 漢", "Prufteil grosser ?", "Prufteil grosser")
    ]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[1] != drawn[2]).any()
    assert (drawn[0][1, 1] == GREY).all()


def test_labels_stand_above_their_panels():
    black = np.zeros((256, 256, 3), np.uint8)
    plain, labelled = (
        np.array(sheet([(label, black)], FOUND)) for label in (Label(""), Label("image", 0.5))
    )
    assert labelled.shape[0] > plain.shape[0]
    assert holds(labelled, black)


def holds(picture, part) -> bool:
    """Whether a picture has a part somewhere, pixel by pixel."""
    height, width = part.shape[:2]
    starts = (
        picture[: picture.shape[0] - height + 1, : picture.shape[1] - width + 1] == part[0, 0]
    ).all(-1)
    return any(
        (picture[top : top + height, left : left + width] == part).all()
        for top, left in np.argwhere(starts)
        if (picture[top, left : left + width] == part[0]).all()
    )
