"""The report page in Chromium, without a network."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from padseg.drawing import COLOURS, HeatScale, opacities
from padseg.metrics.calibration import Calibration
from padseg.report import report

from .conftest import CURVES, make_images, make_run

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


@pytest.fixture
def browse():
    """Opens a report; at the end nothing may have been asked for, blocked or gone wrong."""
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, as whom containers run.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        asked, told = [], []

        def open_report(out: Path, before: str = "", **options):
            report(out)
            page = browser.new_context(offline=True, **options).new_page()
            page.add_init_script(before)
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: told.append(message.text))
            page.on("pageerror", lambda error: told.append(str(error)))
            page.goto((out / "report.html").as_uri())
            return page

        yield open_report
        # A test that reads pixels makes Chromium advise how to read them faster.
        assert [text for text in told if "Canvas2D" not in text] == []
        assert [url for url in asked if not url.startswith("data:")] == [
            url for url in asked if url.endswith("/report.html")
        ]
        browser.close()


def counts(images: list, threshold: float) -> dict[str, int]:
    verdicts = [(label, score > threshold) for _, _, label, score in images]
    names = {"hit": (1, True), "miss": (1, False), "false alarm": (0, True), "correct": (0, False)}
    return {name: verdicts.count(pair) for name, pair in names.items()}


def shown(panel) -> dict[str, str]:
    return {
        name: panel.locator(f'[data-count="{name}"]').inner_text()
        for name in ("hit", "miss", "false alarm", "correct", "precision", "recall")
    }


def check(panel, images: list, threshold: float) -> None:
    expected, found = counts(images, threshold), shown(panel)
    assert {name: int(found[name]) for name in expected} == expected
    alarms = expected["hit"] + expected["false alarm"]
    if alarms:
        share = 100 * expected["hit"] / alarms
        assert float(found["precision"].removesuffix(" %")) == pytest.approx(share, abs=0.051)
    else:
        assert found["precision"] == "–"  # noqa: RUF001
    defects = expected["hit"] + expected["miss"]
    share = 100 * expected["hit"] / defects
    assert float(found["recall"].removesuffix(" %")) == pytest.approx(share, abs=0.051)


def test_moving_the_slider_counts_as_python_does(two_systems, browse):
    images = make_images(24)
    page = browse(two_systems)
    panels = page.locator(".panel")
    assert panels.count() == 2
    check(panels.nth(0), images, 0.45)
    stops = sorted({0.0, 0.45, *(score for _, _, _, score in images)})
    slider = panels.nth(0).locator("input[type=range]")
    assert slider.get_attribute("max") == str(len(stops) - 1)
    for stop in random.Random(0).sample(range(len(stops)), 6):
        slider.fill(str(stop))
        check(panels.nth(0), images, stops[stop])
    slider.focus()
    page.keyboard.press("End")
    check(panels.nth(0), images, stops[-1])
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    check(panels.nth(0), images, stops[1])
    # A number between two stops, in the other system.
    halved = [(path, defect, label, 0.5 * score) for path, defect, label, score in images]
    panels.nth(1).locator("input[type=number]").fill("0.2")
    page.keyboard.press("Enter")
    check(panels.nth(1), halved, 0.2)
    # The cards follow.
    page.locator("label", has_text="Verdict").locator("select").select_option("miss")
    missed = {p for p, _, label, s in images if label and (s <= stops[1] or 0.5 * s <= 0.2)}
    found = {card.get_attribute("data-path") for card in page.locator(".card").all()}
    assert found == missed


def test_very_many_images_are_counted(two_systems, browse):
    rows = "Array.from({ length: 200_000 }, (_, at) => ({ score: at % 1000, label: at % 2 }))"
    found = browse(two_systems).evaluate(f"histogram({rows}, 1500, 3)")
    assert (found["low"], found["high"]) == (0, 1500)
    assert found["counts"] == [[50_000, 50_000], [50_000, 50_000], [0, 0]]


def test_gallery_is_sorted_filtered_and_painted(two_systems, browse):
    images = make_images(24)
    page = browse(two_systems)
    ordered = [path for path, *_ in sorted(images, key=lambda image: -image[3])]
    assert [card.get_attribute("data-path") for card in page.locator(".card").all()] == ordered
    page.wait_for_selector(".card canvas[data-painted]")
    assert page.locator(".card").first.locator("canvas").count() == 2
    # The square of high scores has the colour of its level and the rest is not covered.
    pixel = """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
        Math.round(canvas.width * x), Math.round(canvas.height * y), 1, 1).data]"""
    page.locator("label.check", has_text="outlined").locator("input").uncheck()
    page.locator("label", has_text="Found regions").locator("select").select_option("none")
    slider = page.locator("#opacity")
    slider.fill("100")
    page.wait_for_timeout(300)
    canvas = page.locator(".card canvas").first
    hot, plain = canvas.evaluate(pixel, [0.3, 0.3]), canvas.evaluate(pixel, [0.8, 0.8])
    slider.fill("0")
    page.wait_for_timeout(300)
    bare = np.array(canvas.evaluate(pixel, [0.3, 0.3])[:3])
    scale, score = HeatScale(0.5), max(score for *_, score in images)
    level = round(255 * float(scale.levels(np.array([score]))[0])) // 8 * 8
    opacity = opacities(scale)[level]
    expected = (1 - opacity) * bare + opacity * COLOURS[level]
    np.testing.assert_allclose(hot[:3], expected, atol=4)
    after = canvas.evaluate(pixel, [0.8, 0.8])
    assert max(abs(a - b) for a, b in zip(plain, after, strict=True)) <= 12
    page.locator("label", has_text="Defect").locator("select").select_option("dent")
    assert page.locator("#shown").inner_text().startswith("8 of 24")
    assert {
        card.get_attribute("data-path").split("/")[2] for card in page.locator(".card").all()
    } == {"dent"}


def test_keyboard_opens_walks_and_closes(two_systems, browse):
    page = browse(two_systems)
    page.locator(".card").first.focus()
    page.keyboard.press("ArrowRight")
    second = page.locator(".card").nth(1)
    assert second.evaluate("card => card === document.activeElement")
    page.keyboard.press("Enter")
    assert page.locator("#viewer[open]").count() == 1
    assert "2 of 24" in page.locator("#viewer .path").inner_text()
    page.keyboard.press("ArrowRight")
    assert "3 of 24" in page.locator("#viewer .path").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#viewer[open]").count() == 0
    assert page.locator(".card").nth(2).evaluate("card => card === document.activeElement")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_the_button(scheme, two_systems, browse):
    page = browse(two_systems, color_scheme=scheme, viewport={"width": 360, "height": 700})
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == scheme
    page.locator("#theme").click()
    assert page.evaluate(theme) == ("dark" if scheme == "light" else "light")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_every_control_has_a_name(two_systems, browse):
    page = browse(two_systems)
    nameless = """[...document.querySelectorAll("button, select, input, canvas, svg")].filter((node) =>
        !node.closest("[aria-hidden=true]") && !node.getAttribute("aria-label")
        && !(node.labels && [...node.labels].some((label) => label.textContent.trim()))
        && !(node.tagName === "BUTTON" && node.textContent.trim())).map((node) => node.outerHTML)"""
    assert page.evaluate(nameless) == []


def test_hostile_names_run_nothing(tmp_path, browse):
    names = [
        "<img src=x onerror=window.owned=1>",
        "</script><script>window.owned=1</script>",
        "\"'>&lt;",
    ]
    images = [(f"{name}/{name}.png", name, 1, 0.25 + at / 8) for at, name in enumerate(names)]
    make_run(tmp_path, names[0], names[1], images=images, curves={names[2]: CURVES["pro"]})
    page = browse(tmp_path)
    assert page.evaluate("window.owned") is None
    defects = page.locator(".card .name b").all_inner_texts()
    assert sorted(defects) == sorted(names)
    page.locator(".card").first.click()
    assert page.locator("#viewer h2").inner_text() == names[2]
    assert page.locator("#table").inner_text().count(names[0]) == 1


def test_means_over_other_categories_do_not_compare(tmp_path, browse):
    make_run(tmp_path, "whole", "bolt", figures={"pixel_ap": 0.6})
    make_run(tmp_path, "whole", "nut", figures={"pixel_ap": 0.2})
    make_run(tmp_path, "part", "bolt", figures={"pixel_ap": 0.9})
    page = browse(tmp_path)
    rows = page.locator("#table tbody.mean").locator("tr")
    assert "Mean over 2 categories" in page.locator("#table tbody").last.inner_text()
    whole, part = (rows.filter(has_text=label).locator(".best") for label in ("whole", "part"))
    assert "40.0" in [cell.inner_text() for cell in whole.all()]
    assert part.count() == 0  # not even where the figures are equal
    assert page.locator("#table tbody", has_text="nut").locator(".best").count() == 0  # alone
    bolt = page.locator("#table tbody", has_text="bolt").locator(".best").all()
    assert "90.0" in [cell.inner_text() for cell in bolt]


def test_runs_without_records_are_shown(tmp_path, browse):
    make_run(tmp_path, "old", "bolt")
    page = browse(tmp_path)
    assert "50.0" in page.locator("#table").inner_text()
    assert "images.csv" in page.locator("#missing").inner_text()
    assert page.locator(".card").count() == 0


def test_the_phone_reads_names_and_scrolls_tables_only(two_systems, browse):
    page = browse(two_systems, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in page.locator("#table tbody th[scope=row]").all():
        assert name.bounding_box()["width"] > 80
        assert name.bounding_box()["height"] < 60
    boxes = page.locator(".histogram").first.bounding_box()
    assert 250 < boxes["width"] < 390


def test_the_histogram_counts_every_image(two_systems, browse):
    images = make_images(24)
    page = browse(two_systems)
    chart = page.locator(".histogram").first
    for kind, label in (("good", 0), ("defective", 1)):
        bars = chart.locator(f"rect.{kind}").all()
        counted = [int(bar.get_attribute("data-count")) for bar in bars]
        assert sum(counted) == sum(image[2] == label for image in images)
    # Its bars lie as the scores do: the mean place is that of the scores.
    scores = np.array([image[3] for image in images])
    low, high = min(*scores, 0.45), max(*scores, 0.45)
    bars = [
        bar.bounding_box() | {"n": int(bar.get_attribute("data-count"))}
        for bar in chart.locator("rect").all()
    ]
    box = chart.bounding_box()
    places = [(bar["x"] + bar["width"] / 2 - box["x"] - 8) / (box["width"] - 16) for bar in bars]
    mean = np.average(places, weights=[bar["n"] for bar in bars])
    assert mean == pytest.approx(((scores - low) / (high - low)).mean(), abs=0.015)
    # The threshold line follows the slider.
    mark = chart.locator(".mark")
    before = float(mark.get_attribute("x1"))
    page.locator(".panel").first.locator("input[type=range]").fill("1")
    assert float(mark.get_attribute("x1")) < before
    assert "threshold" in chart.locator(".mark-text").text_content()


def test_each_kind_of_defect_has_its_recall(two_systems, browse):
    images = make_images(24)
    page = browse(two_systems)
    rows = page.locator(".panel").first.locator(".kinds tbody tr")
    for place, kind in enumerate(("crack", "dent")):
        scores = [score for _, defect, _, score in images if defect == kind]
        found = sum(score > 0.45 for score in scores)
        expected = f"{kind} {found} of {len(scores)} {100 * found / len(scores):.1f} %"
        assert rows.nth(place).inner_text().split() == expected.split()
    assert rows.count() == 2


def outlined(canvas) -> tuple[int, int]:
    """Numbers of white and of cyan pixels."""
    return tuple(
        canvas.evaluate(
            """(canvas) => {
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let [white, cyan] = [0, 0];
        for (let i = 0; i < data.length; i += 4) {
            white += data[i] > 250 && data[i + 1] > 250 && data[i + 2] > 250;
            cyan += data[i] < 70 && data[i + 1] > 210 && data[i + 2] > 245;
        }
        return [white, cyan]; }"""
        )
    )


def test_found_regions_are_outlined_beside_the_true_ones_if_anomalous(tmp_path, browse):
    images = [("a.png", "dent", 1, 0.9), ("b.png", "dent", 1, 0.6), ("c.png", "good", 0, 0.3)]
    calibration = Calibration(0.7, 0.5, 0.01, 0.001, 0.01, normal_images=99)
    make_run(tmp_path, "x", "bolt", images=images, calibration=calibration)
    page = browse(tmp_path)
    painted = page.locator('.card canvas[data-painted="1"]')
    sync_api.expect(painted).to_have_count(3)
    counts = [outlined(painted.nth(at)) for at in range(3)]
    assert counts[0][0] > counts[1][0] + 40  # the second is judged normal
    assert counts[0][1] > 40 < counts[1][1]  # both are defects
    assert counts[2][1] < 20
    before = [canvas.screenshot() for canvas in painted.all()]
    page.locator("label", has_text="Found regions").locator("select").select_option("all")
    for _ in range(50):
        if painted.nth(1).screenshot() != before[1]:
            break
        page.wait_for_timeout(100)
    asked = [outlined(painted.nth(at)) for at in range(3)]
    assert asked[1][0] > counts[1][0] + 40
    assert asked[2] == pytest.approx(counts[2], abs=5)  # nothing exceeds the pixel threshold


@pytest.mark.parametrize("tested", [True, False])
def test_losses_and_options_of_the_shown_runs(two_systems, browse, tested):
    for label, width in (("one", 64), ("two", 32)):
        logs = two_systems / label / "bolt/seed0/logs/distill"
        logs.mkdir(parents=True)
        losses = "".join(f"{step},{1 / (step + 1)}\n" for step in range(0, 100, 10))
        (logs / "metrics.csv").write_text("step,train_loss\n" + losses)
        (logs / "config.yaml").write_text(f"model: {{width: {width}, momentum: 0.9}}\n")
        if not tested:
            (logs.parents[1] / "images.csv").unlink()
    page = browse(two_systems, "delete window.requestIdleCallback")  # which Safari does not have
    assert page.evaluate("typeof requestIdleCallback") == "undefined"
    assert page.locator("#losses polyline").count() == 2
    page.locator("#options summary").click()
    assert page.locator("#options tr.differ").all_inner_texts() == ["distill model.width\t64\t32"]
    assert "momentum" in page.locator("#options").inner_text()


def test_print_shows_figures_and_cards_without_controls(two_systems, browse, tmp_path):
    page = browse(two_systems, color_scheme="dark")
    page.emulate_media(media="print")
    for hidden in ("nav", "#filters", ".buttons", ".threshold"):
        assert not page.locator(hidden).first.is_visible()
    for shown in ("#table", ".histogram", ".kinds", ".card", "#charts"):
        assert page.locator(shown).first.is_visible()
    assert page.locator("#table").evaluate("box => box.scrollWidth <= box.clientWidth + 1")
    # All cards are painted, also those that were never in view, once the page is at rest.
    sync_api.expect(page.locator('#cards canvas[data-painted="1"]')).to_have_count(48)
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
