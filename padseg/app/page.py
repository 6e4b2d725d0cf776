"""The page: its parts, and what happens when one of them is used."""

import html
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from padseg.app.judging import THRESHOLD, Entry, about, judge, pictures, regions
from padseg.app.markup import region_table, verdict_bar
from padseg.data.image_files import IMAGE_SUFFIXES
from padseg.errors import DataError
from padseg.inference import Predictor
from padseg.inference.images import MOST_PIXELS, ImageSource

_SYSTEM_FONT = ["system-ui", "sans-serif"]
THEME = gr.themes.Base(primary_hue="blue", font=_SYSTEM_FONT, font_mono=["monospace"])
"""Looks, with fonts that every machine has, so that none is fetched."""
_HINT = "Drop images, or use the camera."
_HOUR = 3600


def build_page(predictor: Predictor, checkpoint: Path) -> gr.Blocks:
    """The window's page, with the file of the checkpoint in its title."""
    calibrated = predictor.calibration is not None
    with gr.Blocks(
        title="padseg", analytics_enabled=False, delete_cache=(_HOUR, _HOUR), fill_width=True
    ) as page:
        entries, chosen = gr.State([]), gr.State(0)
        title = html.escape(about(predictor, checkpoint))
        gr.HTML(f'<h2>padseg</h2><div style="overflow-wrap: anywhere">{title}</div>')
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                files, camera = _inputs()
                threshold = gr.Slider(
                    *(0, 1, THRESHOLD),
                    step=0.01,
                    label="Threshold",
                    info="0.5 is that of the checkpoint; a higher one finds less.",
                    visible=calibrated,
                    elem_id="threshold",
                )
                gallery = gr.Gallery(
                    label="All images",
                    show_label=False,
                    buttons=[],
                    columns=3,
                    height="auto",
                    object_fit="contain",
                    allow_preview=False,
                    interactive=False,
                    visible=False,
                    elem_id="all",
                )
                clear = gr.Button("Remove all images", size="sm", visible=False)
            with gr.Column(scale=3):
                outputs = [*_outputs(calibrated), gallery, clear]
    events = _Events(predictor)
    state, drawn = [entries, chosen, threshold], [entries, chosen, *outputs]
    network = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}
    with page:
        listed = [entries, chosen]
        busy = {**network, "show_progress_on": outputs[:5]}
        upload = files.upload(events.add_files, [files, *listed], [files, *listed], **busy)
        photo = camera.input(events.add_photo, [camera, *listed], [camera, *listed], **busy)
        # Gradio would answer with an error while a number is being typed, so `view` checks it.
        redraw = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
        # With the threshold of then: it may have been moved meanwhile.
        for added in (upload, photo):
            added.then(events.view, state, outputs, **redraw)
        threshold.change(
            events.view, state, outputs, trigger_mode="always_last", concurrency_limit=1, **redraw
        )
        gallery.select(events.choose, [entries, threshold], [chosen, *outputs], **redraw)
        # After what is being scored, which would otherwise come back.
        clear.click(events.clear, None, drawn, **network, show_progress="hidden")
    return page


def _inputs() -> tuple[gr.File, gr.Image]:
    """Where images come from: files and the camera."""
    with gr.Tab("Images"):
        files = gr.File(
            label="Images",
            file_count="multiple",
            file_types=sorted(IMAGE_SUFFIXES),
            height=150,
            elem_id="files",
        )
    with gr.Tab("Camera"):
        camera = gr.Image(
            label="Camera",
            sources=["webcam"],
            type="pil",
            format="png",
            webcam_options=gr.WebcamOptions(mirror=False),
            elem_id="camera",
        )
    return files, camera


def _outputs(calibrated: bool) -> list[gr.Component]:
    """Verdict, pictures and regions of the chosen image."""
    verdict = gr.HTML(verdict_bar([_HINT], None), elem_id="verdict")
    with gr.Row():
        shown = [
            gr.Image(
                label=label,
                interactive=False,
                format="jpeg",
                buttons=["download", "fullscreen"],
                elem_id=name,
            )
            for name, label in (
                ("image", "Image"),
                ("overlay", "Above the threshold" if calibrated else "Overlay"),
                ("map", "Score map"),
            )
        ]
    return [verdict, *shown, gr.HTML(elem_id="regions")]


class _Events:
    """What happens when a part of the page is used; each session has its own list of images."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def add_files(self, paths: list[str], entries: list[Entry], chosen: int) -> list[Any]:
        """Score files, choose the first of them, and empty the field for the next ones."""
        named = [(Path(path).name, path) for path in paths]
        return [None, *self._add(named, entries, chosen)]

    def add_photo(self, photo: Image.Image | None, entries: list[Entry], chosen: int) -> list[Any]:
        """Score a photo, choose it, and start the camera again."""
        named = [] if photo is None else [(f"camera {time.strftime('%H:%M:%S')}", photo)]
        return [None, *self._add(named, entries, chosen)]

    def _add(
        self, named: Sequence[tuple[str, ImageSource]], entries: list[Entry], chosen: int
    ) -> list[Any]:
        entries, before = list(entries), len(entries)
        pixels = sum(entry.prediction.score_map.size for entry in entries)
        answers = self._predictor.stream([source for _, source in named])
        for (name, _), answer in zip(named, answers, strict=True):
            if isinstance(answer, DataError):
                gr.Warning(f"{html.escape(name)} cannot be read as an image.")
                continue
            pixels += answer.score_map.size
            if entries and pixels > MOST_PIXELS:
                gr.Warning(f"{html.escape(name)} and later ones are left out: remove images first.")
                break
            entries.append(Entry.of(name, answer))
        return [entries, before if len(entries) > before else chosen]

    def choose(
        self, event: gr.SelectData, entries: list[Entry], threshold: float | None
    ) -> list[Any]:
        """Show the image whose thumbnail was clicked."""
        return [event.index, *self.view(entries, event.index, threshold)]

    def clear(self) -> list[Any]:
        """Forget all images."""
        return [[], 0, *self.view([], 0, THRESHOLD)]

    def view(self, entries: list[Entry], chosen: int, threshold: float | None) -> list[Any]:
        """Verdict, pictures and regions of the chosen image; the thumbnails; the button that clears them.

        The threshold is None while its field is empty, and may be any number that was typed.
        """
        if not entries:
            hint, gone = verdict_bar([_HINT], None), gr.Button(visible=False)
            return [hint, None, None, None, "", gr.Gallery([], visible=False), gone]
        threshold = THRESHOLD if threshold is None else min(max(threshold, 0), 1)
        entry = entries[chosen]
        judgement = judge(entry.prediction, threshold)
        verdict = [judgement.verdict, f"score {judgement.score}", entry.name]
        thumbnails = gr.Gallery(
            [each.thumbnail(threshold) for each in entries],
            visible=len(entries) > 1,
            selected_index=chosen,
        )
        return [
            verdict_bar(verdict, judgement.anomalous),
            *pictures(entry.prediction, judgement),
            region_table(regions(entry.prediction, judgement)),
            thumbnails,
            gr.Button(visible=True),
        ]
