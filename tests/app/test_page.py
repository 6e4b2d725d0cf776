"""What the page does when it is used, without a browser."""

import html
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from PIL import Image

from padseg.app.markup import region_table
from padseg.inference import Predictor, Region
from padseg.inference.tiles import Box

gr = pytest.importorskip("gradio")
page = pytest.importorskip("padseg.app.page")


@pytest.fixture
def events(predictor):
    return page._Events(predictor)


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Warning", said.append)
    return said


def verdict_of(banner: str) -> str:
    return html.unescape(re.sub("<[^>]+>", " ", banner)).split()[0]


def test_images_stay_as_long_as_the_page_is_open_and_any_number_is_taken(predictor, checkpoint):
    built = page.build_page(predictor, checkpoint)
    states = [block for block in built.blocks.values() if isinstance(block, gr.State)]
    assert [state.time_to_live for state in states] == [math.inf, math.inf]
    reading = [fn for fn in built.fns.values() if any(isinstance(x, gr.Slider) for x in fn.inputs)]
    assert reading
    assert not any(fn.preprocess for fn in reading)  # which would refuse what is being typed


def test_files_are_scored_once_and_judged_at_any_threshold(
    events, predictor, pictures, monkeypatch
):
    expected = predictor(pictures)
    runs = []
    score = Predictor.score
    monkeypatch.setattr(
        Predictor, "score", lambda self, image: runs.append(len(image)) or score(self, image)
    )
    emptied, entries, chosen = events.add_files([str(path) for path in pictures], [], 0)
    assert emptied is None
    assert sum(runs) == len(pictures)
    assert [entry.name for entry in entries] == [path.name for path in pictures]
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.0):
        for index, answer in enumerate(expected):
            event = SimpleNamespace(index=index)
            chosen, banner, image, *_ = events.choose(event, entries, threshold)
            assert chosen == index
            assert verdict_of(banner) == ("ANOMALOUS" if answer.score > threshold else "NORMAL")
            assert pictures[index].name in banner
            assert image.size == (576, 576)
    assert sum(runs) == len(pictures)
    more = events.add_photo(Image.open(pictures[0]), entries, 0)
    assert more[0] is None
    assert len(more[1]) == len(pictures) + 1
    assert more[2] == len(pictures)
    assert more[1][-1].name.startswith("camera ")
    assert more[1][-1].prediction.image_score == pytest.approx(expected[0].image_score, abs=1e-6)
    assert len(entries) == len(pictures)  # the list of before is not changed
    nothing = events.clear()
    assert nothing[:2] == [[], 0]


def test_any_number_may_be_typed_as_threshold(events, pictures):
    _, entries, _ = events.add_files([str(pictures[0])], [], 0)
    for typed, meant in ((None, 0.5), (5, 1), (-1, 0)):
        assert events.view(entries, 0, typed)[0] == events.view(entries, 0, meant)[0]


def test_what_is_no_image_is_reported_by_its_name(events, pictures, tmp_path, warnings):
    broken = tmp_path / "broken <b>.png"
    broken.write_bytes(b"no image")
    _, entries, chosen = events.add_files([str(broken), str(pictures[0])], [], 0)
    assert warnings == ["broken &lt;b&gt;.png cannot be read as an image."]
    assert [entry.name for entry in entries] == [pictures[0].name]
    assert chosen == 0
    _, again, chosen = events.add_files([str(broken)], entries, 0)
    assert again == entries
    assert events.add_photo(None, entries, 0)[1] == entries


def test_the_regions_are_listed(events, predictor, pictures):
    answer = predictor(pictures[0])
    _, entries, chosen = events.add_files([str(pictures[0])], [], 0)
    table = events.view(entries, chosen, 0.5)[4]
    head, *rows = [[cell.text for cell in row] for row in ElementTree.fromstring(table).iter("tr")]
    assert head == ["left", "top", "right", "bottom", "area", "score"]
    for row, region in zip(rows, answer.regions, strict=True):
        assert [int(cell) for cell in row[:5]] == [*region.box, region.area]
        assert float(row[5]) == pytest.approx(region.score, rel=1e-3)
    many = region_table([Region(Box(0, 0, 1, 1), 1, 0.5, 0.6)] * 60)
    assert "the first 50 of 60" in many
    assert many.count("<tr>") == 51
    assert region_table([]) == ""


def test_names_are_text(events, pictures, tmp_path):
    hostile = tmp_path / "<img src=x>.png"
    shutil.copy(pictures[0], hostile)
    _, entries, chosen = events.add_files([str(hostile)], [], 0)
    assert "<img" not in events.view(entries, chosen, 0.5)[0]


def test_the_images_in_memory_are_bounded(events, pictures, warnings, monkeypatch):
    monkeypatch.setattr(page, "MOST_PIXELS", 2 * 72 * 72)
    _, entries, _ = events.add_files([str(path) for path in pictures], [], 0)
    assert len(entries) == 2
    assert warnings == [f"{pictures[2].name} and later ones are left out: remove images first."]


def test_the_page_sends_nothing(predictor):
    built = page.build_page(predictor, Path("x.ckpt"))
    assert not built.analytics_enabled
    assert page.build_page(predictor, Path("<b>.ckpt")).config
    fonts = [str(font) for font in built.config.get("stylesheets") or []]
    assert not [font for font in fonts if "http" in font]
