"""The picture beside a model: pairs that it was trained on, and score maps of held-out images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padseg.data import AnomalyDataModule
from padseg.data.preview import draw_grid, preview
from padseg.drawing import HeatScale, heatmap, overlay
from padseg.inference import Prediction, Predictor
from padseg.inference.results import heat_scale
from padseg.machine.files import written_whole
from padseg.machine.marks import save_marked

_PAIRS, _HELD_OUT = 4, 6


class PreviewCallback(Callback):
    """Draws the first pairs when a training begins, so that a mistake is seen early.

    It keeps some held-out images, every second one with a synthetic defect, for `add_score_maps`.

    Args:
        path: The picture.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pairs: Image.Image | None = None
        self._held_out: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the pairs, and draw them again in a later phase that paints defects."""
        data: AnomalyDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if self._pairs is not None and data.synthesis is None:
            return
        self._pairs = preview(data, 0, _PAIRS)
        loader: Any = data.val_dataloader()
        if loader:
            count = min(_HELD_OUT, len(loader.dataset))
            self._held_out = [loader.dataset[index] for index in range(count)]
        _save(self.path, [self._pairs])

    def add_score_maps(self, predictor: Predictor) -> None:
        """Add the score maps of the held-out images, if a training began in this process."""
        if self._pairs is None or not self._held_out:
            return
        answers = predictor([item["image"].numpy() for item in self._held_out])
        scale = heat_scale(answers)
        cells = [
            _cells(item, answer, scale)
            for item, answer in zip(self._held_out, answers, strict=True)
        ]
        columns = ["held-out image", "mask", "score map", "found"]
        names = ["synthetic" if item["label"] else "good" for item in self._held_out]
        _save(self.path, [self._pairs, draw_grid(torch.stack(cells), columns, names)])


def _cells(item: dict[str, Any], answer: Prediction, scale: HeatScale) -> Tensor:
    """(4, 3, H, W) in [0, 1]: image, mask of the synthetic defect, score map and overlay."""
    shown: Sequence[NDArray[np.uint8]] = (
        answer.image,
        np.repeat(item["mask"].numpy().transpose(1, 2, 0) * np.uint8(255), 3, axis=2),
        heatmap(answer.score_map, scale),
        overlay(answer.image, answer.score_map, scale),
    )
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2) / 255


def _save(path: Path, pages: Sequence[Image.Image]) -> None:
    """Save pages below each other."""
    size = max(page.width for page in pages), sum(page.height for page in pages)
    picture, top = Image.new("RGB", size, "white"), 0
    for page in pages:
        picture.paste(page, (size[0] - page.width, top))
        top += page.height
    with written_whole(path) as draft:
        save_marked(picture, draft)
