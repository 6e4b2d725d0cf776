"""Colours, outlines and panels, pixel by pixel."""

import numpy as np
import pytest

from padseg.records import heatmap, outline, overlay, panels


def test_heatmap_is_viridis():
    scores = np.linspace(0, 0.5, 256, dtype=np.float32)[None]
    coloured = heatmap(scores, top=0.5)
    assert coloured.shape == (1, 256, 3)
    # The ends of the published colour map.
    np.testing.assert_allclose(coloured[0, 0], (68, 1, 84), atol=2)
    np.testing.assert_allclose(coloured[0, -1], (253, 231, 37), atol=2)
    lightness = coloured[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) >= -1).all()
    assert (heatmap(np.full((1, 1), 7.0), top=0.5) == coloured[0, -1]).all()
    assert heatmap(np.zeros((2, 2)), top=0).shape == (2, 2, 3)


def test_outline_lies_around_the_region():
    image = np.full((9, 9, 3), 100, np.uint8)
    region = np.zeros((9, 9), dtype=bool)
    region[4, 4] = True
    drawn = outline(image, region)
    assert (image == 100).all()
    expected = np.full((9, 9), 100)
    expected[2:7, 2:7] = 0
    expected[3:6, 3:6] = 255
    expected[4, 4] = 100
    assert (drawn == expected[..., None]).all()


def test_overlay_leaves_what_is_normal():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    score_map = np.zeros((20, 20), np.float32)
    score_map[5:8, 5:8] = 0.5
    plain = overlay(image, score_map, None)
    assert (plain[score_map == 0] == image[score_map == 0]).all()
    assert (plain[score_map > 0] != image[score_map > 0]).any()
    outlined = overlay(image, score_map, 0.2)
    assert (outlined[4, 4:9] == 255).all()
    assert (overlay(image, score_map, 0.6) == plain).all()


def test_overlays_are_the_same_in_bands(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 20, 3), dtype=np.uint8)
    score_map = rng.random((37, 20), dtype=np.float32)
    whole = overlay(image, score_map, 0.6, 0.9)
    monkeypatch.setattr("padseg.records.drawing._BAND", 100)
    assert np.array_equal(overlay(image, score_map, 0.6, 0.9), whole)


@pytest.mark.parametrize("shape", [(256, 256), (64, 32), (40, 90)])
def test_panels(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    image[: shape[0] // 2] = (10, 20, 30)
    mask = np.zeros(shape, dtype=bool)
    mask[:, : shape[1] // 2] = True
    picture = np.array(
        panels(image, mask, mask / np.float32(2), "missed defect: ä/漢.png", 0.25, 0.5)
    )
    factor = 256 / max(shape)
    height, width = round(shape[0] * factor), round(shape[1] * factor)
    cell = max(width, 200) + 8
    assert picture.shape == (34 + 22 + height + 8, 8 + 4 * cell, 3)
    shown = [picture[56 : 56 + height, 8 + k * cell : 8 + k * cell + width] for k in range(4)]
    assert (shown[0][10, 10] == (10, 20, 30)).all()
    assert (shown[0][-10, 10] == 200).all()
    assert (shown[1][:, 0] == 255).all()
    assert (shown[1][:, -1] == 0).all()
    np.testing.assert_allclose(shown[2][5, 5], (253, 231, 37), atol=2)
    assert (shown[3] == 255).all(axis=2).any()  # the outline
    assert (picture[:34] < 100).any()  # the title


def test_letters_that_the_font_lacks_are_spelled_out():
    image, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), dtype=bool)
    drawn = [
        np.array(panels(image, mask, mask / np.float32(2), title))
        for title in ("Prüfteil größer 漢", "Prufteil grosser ?", "Prufteil grosser")
    ]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[1] != drawn[2]).any()
