"""What is found in one image: score map, score, and the verdicts that follow from the thresholds."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from padseg.data.images import Size
from padseg.inference.tiles import Box
from padseg.metrics.calibration import Calibration
from padseg.metrics.score_scale import ScoreScale
from padseg.models.scores import map_at_size


@dataclass(frozen=True)
class Region:
    """An 8-connected region of pixels whose score exceeds the pixel threshold.

    Attributes:
        box: Left, top, right, bottom in pixels; right and bottom are exclusive.
        area: Area in pixels.
        peak: Highest raw score, in [0, 1].
        score: The same normalised, above 0.5.
    """

    box: Box
    area: int
    peak: float
    score: float


@dataclass(frozen=True)
class Prediction:
    """The result for one image, at the size of the image.

    Attributes:
        image: (H, W, 3) uint8.
        score_map: (H, W) float32 in [0, 1], raw: each system has its own range.
        image_score: In [0, 1], likewise.
        score: The image score normalised: 0.5 is the threshold; None without calibration.
        anomalous: Whether the score exceeds the threshold; None without calibration.
        regions: Regions of high scores, the highest peak first; empty without calibration.
        calibration: The thresholds, if there are any.
    """

    image: NDArray[np.uint8] = field(repr=False)
    score_map: NDArray[np.float32] = field(repr=False)
    image_score: float
    score: float | None
    anomalous: bool | None
    regions: list[Region]
    calibration: Calibration | None = field(default=None, repr=False)

    @property
    def normalised_map(self) -> NDArray[np.float32] | None:
        """(H, W), the score map normalised: 0.5 is the pixel threshold; None without calibration."""
        return None if self.calibration is None else self.calibration.pixel_scale.of(self.score_map)

    @property
    def pixel_threshold(self) -> float | None:
        """The raw score above which a pixel is anomalous; None without calibration."""
        return None if self.calibration is None else self.calibration.pixel_threshold

    @property
    def image_threshold(self) -> float | None:
        """The raw score above which an image is anomalous; None without calibration."""
        return None if self.calibration is None else self.calibration.image_threshold

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """(H, W), the pixels that exceed their threshold; None without calibration."""
        return (
            None if self.calibration is None else self.score_map > self.calibration.pixel_threshold
        )


def make_prediction(
    image: Image.Image,
    score_map: NDArray[np.float32],
    image_score: float,
    calibration: Calibration | None,
) -> Prediction:
    """Apply the thresholds to the score map of an RGB image, at its size."""
    pixels = np.array(image, dtype=np.uint8)
    if calibration is None:
        return Prediction(pixels, score_map, image_score, None, None, [])
    return Prediction(
        pixels,
        score_map,
        image_score,
        calibration.image_scale(image_score),
        image_score > calibration.image_threshold,
        find_regions(score_map, calibration.pixel_scale),
        calibration,
    )


def find_regions(
    score_map: NDArray[np.float32], scale: ScoreScale, threshold: float | None = None
) -> list[Region]:
    """The 8-connected regions of scores above a threshold, the highest peak first.

    Args:
        score_map: (H, W), raw.
        scale: Normalises the scores of the regions.
        threshold: A raw score; None for that of the scale.
    """
    threshold = scale.threshold if threshold is None else threshold
    labels, count = ndimage.label(score_map > threshold, structure=np.ones((3, 3)))
    if not count:
        return []
    regions = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        inside = score_map[rows, columns][labels[rows, columns] == number]
        box = Box(columns.start, rows.start, columns.stop, rows.stop)
        peak = float(inside.max())
        regions.append(Region(box, inside.size, peak, scale(peak)))
    return sorted(regions, key=lambda region: -region.peak)


def at_size(score_map: Tensor, size: Size) -> NDArray[np.float32]:
    """(1, h, w) float32 on the CPU to (H, W), bilinearly; unchanged if it has the size already."""
    return np.asarray(map_at_size(score_map[None], size)[0, 0].numpy())
