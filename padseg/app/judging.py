"""What the window shows of an image at any threshold, without running the network again."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from padseg.drawing import (
    Banner,
    HeatScale,
    enlarged,
    heatmap,
    overlay,
    score_words,
    stamped,
    verdict_text,
)
from padseg.errors import count
from padseg.inference import Prediction, Predictor, Region
from padseg.inference.prediction import find_regions

THRESHOLD = 0.5
"""The normalised score that is the threshold of the checkpoint."""
_LEAST, _MOST = 512, 1400  # pixels of the longer side of a picture on the screen
_THUMBNAIL = 256


@dataclass(frozen=True)
class Judgement:
    """The verdict on an image at one threshold.

    Attributes:
        anomalous: Whether the image's score exceeds the threshold; None without calibration.
        score: The comparison in words, such as `0.8312 > 0.5000`; the raw score without calibration.
        colours: Those of the score map, with the threshold in the middle.
    """

    anomalous: bool | None
    score: str
    colours: HeatScale

    @property
    def verdict(self) -> str:
        """The verdict in one or two words."""
        return verdict_text(self.anomalous)


def judge(prediction: Prediction, threshold: float = THRESHOLD) -> Judgement:
    """Apply a normalised threshold to image and pixels; at 0.5, the verdict is that of the prediction."""
    calibration = prediction.calibration
    score = score_words(prediction.image_score, prediction.score, threshold)
    if calibration is None:
        return Judgement(None, score, HeatScale(None, top=float(prediction.score_map.max())))
    pixels = calibration.pixel_scale
    return Judgement(
        prediction.image_score > calibration.image_scale.raw(threshold),
        score,
        HeatScale(pixels.raw(threshold), spread=pixels.spread),
    )


def regions(prediction: Prediction, judgement: Judgement) -> list[Region]:
    """The regions above the threshold, the highest score first; none without calibration."""
    if prediction.calibration is None:
        return []
    scale, threshold = prediction.calibration.pixel_scale, judgement.colours.threshold
    return find_regions(prediction.score_map, scale, threshold)


def pictures(prediction: Prediction, judgement: Judgement) -> list[Image.Image]:
    """Image, overlay and coloured score map, in a size for the screen."""
    image, score_map = enlarged(prediction.image, prediction.score_map, _LEAST)
    laid = overlay(image, score_map, judgement.colours, outlined=bool(judgement.anomalous))
    shown = [Image.fromarray(one) for one in (image, laid, heatmap(score_map, judgement.colours))]
    for picture in shown:
        picture.thumbnail((_MOST, _MOST))
    return shown


@dataclass(frozen=True)
class Entry:
    """An image in the window.

    Attributes:
        name: Name of its file.
        prediction: The answer of the network.
        small: A reduced copy of the image and its score map, for the row of thumbnails.
    """

    name: str
    prediction: Prediction = field(repr=False)
    small: Prediction = field(repr=False)

    @classmethod
    def of(cls, name: str, prediction: Prediction) -> "Entry":
        """The entry of a prediction, with a small copy for its thumbnail that keeps the highest scores."""
        height, width = prediction.score_map.shape
        step = max(1, round(max(height, width) / _THUMBNAIL))
        image = Image.fromarray(prediction.image).reduce(step)
        score_map = prediction.score_map
        rows, columns = -(-height // step), -(-width // step)
        padded = np.zeros((rows * step, columns * step), np.float32)
        padded[:height, :width] = score_map
        highest = padded.reshape(rows, step, columns, step).max(axis=(1, 3))
        small = replace(prediction, image=np.asarray(image), score_map=highest, regions=[])
        return cls(name, prediction, small)

    def thumbnail(self, threshold: float) -> Image.Image:
        """A small overlay above the score, on the colour of the verdict."""
        judgement = judge(self.small, threshold)
        alarm = judgement.anomalous
        laid = overlay(
            self.small.image, self.small.score_map, judgement.colours, outlined=bool(alarm)
        )
        score, _, _ = judgement.score.partition(" ")
        return stamped(laid, Banner(judgement.verdict, alarm, score))


def about(predictor: Predictor, checkpoint: Path) -> str:
    """The network and where its thresholds come from, in a line."""
    module, calibration = predictor.module, predictor.calibration
    height, width = module.image_size
    text = f"{Path(*checkpoint.parts[-4:])} ({module.parts.title}, {height}x{width})"
    if calibration is None:
        return f"{text}, without thresholds: set them with padseg calibrate"
    return f"{text}, thresholds from {count(calibration.normal_images, 'normal image')}"
