"""The window in Chromium, served by the command."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.timeout(900),
]
_PATIENCE = 120  # seconds; a busy machine takes long to import Gradio, and to leave it


@pytest.fixture
def served(checkpoint, tmp_path):
    """The address of the window; at the end, SIGTERM ends it and nothing is left of the images."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "padseg", "app", str(checkpoint), "--device", "cpu"]
    process = subprocess.Popen(
        [*command, "--precision", "32-true"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
        yield address
        assert list(temporary.glob("padseg-app-*"))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE) == 0
    assert not list(temporary.glob("padseg-app-*"))


@pytest.fixture
def opened(served):
    """The page; at the end nothing may have been asked of another machine, or gone wrong."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # Its sandbox does not work for root; a camera with a moving picture.
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        page = browser.new_page(viewport={"width": 1366, "height": 900})
        page.set_default_timeout(1000 * _PATIENCE)
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served)
        yield page
        assert errors == []
        others = [url for url in asked if not url.startswith((served, "data:", "blob:"))]
        assert others == []
        browser.close()


def expect_verdict(page, verdict: str, *more: str) -> None:
    for text in (verdict, *more):
        sync_api.expect(page.locator("#verdict")).to_contain_text(text, timeout=1000 * _PATIENCE)


def test_files_threshold_thumbnails_and_camera(opened, predictor, pictures):
    page, found = opened, predictor(pictures)
    expect_verdict(page, "Drop images")
    page.locator("#files input[type=file]").set_input_files([str(path) for path in pictures])
    verdicts = ["ANOMALOUS" if answer.anomalous else "NORMAL" for answer in found]
    expect_verdict(page, verdicts[0], f"score {found[0].score:#.4g}", pictures[0].name)
    for picture in ("#image", "#overlay", "#map"):
        shown = page.locator(f"{picture} img")
        sync_api.expect(shown).to_be_visible()
        assert shown.evaluate("img => img.decode().then(() => img.naturalWidth)") == 576
    thumbnails = page.locator("#all .thumbnail-item")
    assert thumbnails.count() == len(pictures)
    for index, answer in enumerate(found):
        thumbnails.nth(index).click()
        expect_verdict(page, verdicts[index], f"score {answer.score:#.4g}", pictures[index].name)
        expected = min(len(answer.regions), 50)
        sync_api.expect(
            page.locator("#regions tbody tr").filter(has_text=re.compile(r"\d"))
        ).to_have_count(expected, timeout=1000 * _PATIENCE)
    number = page.locator("#threshold input[type=number]")
    for threshold, verdict in (("1", "NORMAL"), ("7", "NORMAL"), ("0", "ANOMALOUS")):
        number.fill(threshold)
        page.keyboard.press("Enter")
        expect_verdict(page, verdict, f"{min(float(threshold), 1):#.4g}")
    page.get_by_role("tab", name="Camera").click()
    page.get_by_text("Click to Access Webcam").click()
    # Before the first picture has come, there is nothing to capture.
    page.wait_for_function("document.querySelector('#camera video')?.videoWidth > 0")
    page.locator("#camera button[aria-label='capture photo']").click()
    expect_verdict(page, "ANOMALOUS", "camera ")
    assert thumbnails.count() == len(pictures) + 1
    page.get_by_role("button", name="Remove all images").click()
    expect_verdict(page, "Drop images")
    assert thumbnails.count() == 0


def test_a_phone_scrolls_down_only(opened, pictures):
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.locator("#files input[type=file]").set_input_files([str(pictures[0])])
    expect_verdict(opened, "score")
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
