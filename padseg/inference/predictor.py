"""The predictor: images in; score maps, scores, verdicts and regions out."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from padseg.data.images import Size, as_rgb, image_shape, open_image, resize
from padseg.data.orientation import upright
from padseg.data.pairs import to_unit
from padseg.errors import ConfigError, DataError, PadsegError
from padseg.inference.tiles import Blend, Box, tile_boxes
from padseg.inference.weights import load_module
from padseg.machine.precision import PRECISIONS, accelerator, default_precision
from padseg.machine.threads import map_in_threads
from padseg.metrics.calibration import Calibration
from padseg.modules import AnomalyModule
from padseg.names import PRECISION_NAMES
from padseg.options import one_of

_log = logging.getLogger(__name__)
MOST_PIXELS = 2**26
"""Total pixels of images that wait to be scored or written, unless a single one has more."""
Source = NDArray[np.uint8] | Image.Image | str | Path


@dataclass(frozen=True)
class Region:
    """An 8-connected region of pixels whose score exceeds the pixel threshold.

    Attributes:
        box: Left, top, right, bottom in pixels; right and bottom are exclusive.
        area: Area in pixels.
        peak: Highest score.
    """

    box: Box
    area: int
    peak: float


@dataclass(frozen=True)
class Prediction:
    """The result for one image, at the size of the image.

    Attributes:
        image: (H, W, 3) uint8.
        score_map: (H, W) float32 in [0, 1].
        image_score: In [0, 1].
        anomalous: Whether the score exceeds the image threshold; None without calibration.
        regions: Regions of high scores, the highest peak first; empty without calibration.
        pixel_threshold: None without calibration.
    """

    image: NDArray[np.uint8]
    score_map: NDArray[np.float32]
    image_score: float
    anomalous: bool | None
    regions: list[Region]
    pixel_threshold: float | None

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """(H, W), the pixels that exceed their threshold; None without calibration."""
        return None if self.pixel_threshold is None else self.score_map > self.pixel_threshold


class Predictor:
    """Scores images with a trained module.

    Images may have any size: each is resized to that of the module as in training, and its score map
    back. Without a calibration in the checkpoint, there are scores but no verdicts; see `padseg
    calibrate`.

    Args:
        checkpoint: Checkpoint of a training, or a module.
        device: Such as `cpu` or `cuda:1`; None for the accelerator, if there is one.
        precision: `32-true`, `bf16-mixed` or `16-mixed`; None for `32-true` if the thresholds were set in
            it, otherwise for the default of training on this device.
        tile: Side in pixels of the tiles into which larger images are cut; the score of an image is then
            the highest of its tiles. None to score whole images.
        batch_size: Number of images or tiles that are scored together.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        ConfigError: An option cannot be used.
    """

    def __init__(
        self,
        checkpoint: str | Path | AnomalyModule,
        device: str | torch.device | None = None,
        precision: str | None = None,
        tile: int | None = None,
        batch_size: int = 8,
    ) -> None:
        if tile is not None and tile < 32:
            raise ConfigError(f"--tile is {tile}; a tile has at least 32 pixels.")
        if batch_size < 1:
            raise ConfigError(f"--batch-size is {batch_size}; it must be at least 1.")
        self.device = _device(device)
        if precision is not None:
            one_of("--precision", precision, PRECISION_NAMES)
        self.tile = tile
        self.batch_size = batch_size
        module = checkpoint if isinstance(checkpoint, AnomalyModule) else load_module(checkpoint)
        self.module = module.to(self.device).eval()
        thresholds = module.calibration
        self.precision = precision or default_precision(
            self.device.type, None if thresholds is None else thresholds.precision
        )

    @property
    def calibration(self) -> Calibration | None:
        """The thresholds and their origin."""
        return self.module.calibration

    def __call__(self, images: Source | Iterable[Source]) -> Any:
        """Score one image, or several.

        Args:
            images: (H, W, 3) RGB or (H, W) grey uint8, Pillow's image, or the path of a file; or an
                iterable of these.

        Returns:
            A `Prediction`, or a list of them.

        Raises:
            DataError: An image cannot be read.
        """
        single = isinstance(images, np.ndarray | Image.Image | str | Path)
        predictions: list[Prediction] = []
        for prediction in self.stream([images] if single else images):  # type: ignore[list-item, arg-type]
            if isinstance(prediction, DataError):
                raise prediction
            predictions.append(prediction)
        return predictions[0] if single else predictions

    def stream(self, images: Iterable[Source]) -> Iterator[Prediction | DataError]:
        """Score any number of images, keeping only some in memory.

        Yields:
            For each image, in order, its prediction or the reason why it cannot be read.
        """
        waiting: deque[_Job] = deque()
        batch: list[tuple[_Job, Box]] = []
        for job in map_in_threads(self._open, images, 2 * self.batch_size, _pixels, MOST_PIXELS):
            waiting.append(job)
            for box in job.boxes:
                batch.append((job, box))
                if len(batch) == self.batch_size:
                    self._score(batch)
                    batch = []
                    yield from self._finished(waiting)
        if batch:
            self._score(batch)
        yield from self._finished(waiting)

    def _open(self, source: Source) -> "_Job":
        try:
            image = open_rgb(source)
        except DataError as error:
            return _Job(error=error)
        boxes = tile_boxes(image.height, image.width, self.tile)
        job = _Job(image, boxes, blend=Blend(image.height, image.width))
        if len(boxes) == 1:
            job.resized = self._pixels(image, boxes[0])  # here, in a thread
        return job

    def _pixels(self, image: Image.Image, box: Box) -> NDArray[np.uint8]:
        """The part of the image at the module's size, as training sees it."""
        height, width = self.module.image_size
        part = image if box == (0, 0, *image.size) else image.crop(box)
        return np.array(resize(part, (height, width)), dtype=np.uint8)

    def _score(self, batch: list[tuple["_Job", Box]]) -> None:
        pixels = []
        for job, box in batch:
            assert job.image is not None
            resized, job.resized = job.resized, None
            pixels.append(self._pixels(job.image, box) if resized is None else resized)
        image = torch.from_numpy(np.stack(pixels)).to(self.device)
        scores = self.score(to_unit(image))
        for (job, box), score_map, image_score in zip(
            batch, scores["score_map"].cpu(), scores["image_score"].tolist(), strict=True
        ):
            assert job.blend is not None
            job.blend.add(box, at_size(score_map, (box.bottom - box.top, box.right - box.left)))
            job.image_score = max(job.image_score, image_score)
            job.left -= 1

    def score(self, image: Tensor) -> dict[str, Tensor]:
        """The module's output for (B, 3, H, W) on its device, in this predictor's precision.

        Raises:
            PadsegError: A score is not finite.
        """
        dtype = PRECISIONS[self.precision]
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            scores: dict[str, Tensor] = self.module(image)
        if not scores["image_score"].isfinite().all():
            low = "" if dtype is None else ", unless --precision 32-true helps"
            raise PadsegError(
                f"the scores in {self.precision} are not finite: the training has diverged{low}."
            )
        return scores

    def _finished(self, waiting: deque["_Job"]) -> Iterator[Prediction | DataError]:
        while waiting and not waiting[0].left:
            job = waiting.popleft()
            if job.error is not None:
                yield job.error
                continue
            assert job.image is not None
            assert job.blend is not None
            yield make_prediction(
                job.image, job.blend.result(), job.image_score, self.module.calibration
            )


def _pixels(source: Source) -> int:
    """The pixels of an image; 0 if it cannot be read, which is reported when it is opened."""
    try:
        if isinstance(source, Image.Image):
            height, width = source.height, source.width
        else:
            shape = source.shape if isinstance(source, np.ndarray) else image_shape(Path(source))
            height, width = shape[:2]
    except (DataError, ValueError):
        return 0
    return height * width


def warn_of_verdicts(
    calibration: Calibration | None, precision: str, tile: int | None = None
) -> None:
    """Warn if there are no thresholds, or if they were set for other kinds of scores."""
    if calibration is None:
        _log.warning(
            "The checkpoint has no thresholds, so there are scores but no verdicts: set them with "
            "padseg calibrate CKPT FOLDER, on normal images."
        )
    elif calibration.tile != tile:
        _log.warning(
            "The thresholds were set %s, these images are scored %s, so that verdicts may be wrong: set the "
            "thresholds with padseg calibrate as images are scored.",
            _tiled(calibration.tile),
            _tiled(tile),
        )
    elif calibration.precision not in (None, precision):
        _log.warning(
            "The thresholds were set in %s, these images are scored in %s: verdicts of scores near a "
            "threshold may differ: score in the former, or set the thresholds anew with padseg calibrate.",
            calibration.precision,
            precision,
        )


def _tiled(tile: int | None) -> str:
    return "without tiles" if tile is None else f"with --tile {tile}"


@dataclass
class _Job:
    """An image in progress; `left` counts the tiles that are not scored yet."""

    image: Image.Image | None = None
    boxes: list[Box] = field(default_factory=list)
    blend: Blend | None = None
    error: DataError | None = None
    resized: NDArray[np.uint8] | None = None
    image_score: float = 0.0

    def __post_init__(self) -> None:
        self.left = len(self.boxes)


def make_prediction(
    image: Image.Image,
    score_map: NDArray[np.float32],
    image_score: float,
    calibration: Calibration | None,
) -> Prediction:
    """Apply the thresholds to the score map of an RGB image, at its size."""
    pixels = np.array(image, dtype=np.uint8)
    if calibration is None:
        return Prediction(pixels, score_map, image_score, None, [], None)
    threshold = calibration.pixel_threshold
    return Prediction(
        pixels,
        score_map,
        image_score,
        calibration.is_anomalous(image_score),
        find_regions(score_map, threshold),
        threshold,
    )


def find_regions(score_map: NDArray[np.float32], threshold: float) -> list[Region]:
    """The 8-connected regions of scores above a threshold, the highest peak first."""
    labels, count = ndimage.label(score_map > threshold, structure=np.ones((3, 3)))
    if not count:
        return []
    regions = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        inside = score_map[rows, columns][labels[rows, columns] == number]
        box = Box(columns.start, rows.start, columns.stop, rows.stop)
        regions.append(Region(box, inside.size, float(inside.max())))
    return sorted(regions, key=lambda region: -region.peak)


def at_size(score_map: Tensor, size: Size) -> NDArray[np.float32]:
    """(1, h, w) float32 on the CPU to (H, W), bilinearly; unchanged if it has the size already."""
    if tuple(score_map.shape[-2:]) != size:
        shrinks = size[0] < score_map.shape[-2] or size[1] < score_map.shape[-1]
        score_map = functional.interpolate(
            score_map[None], size, mode="bilinear", antialias=shrinks
        ).clamp(0, 1)[0]
    return np.asarray(score_map[0].numpy())


def open_rgb(source: Source) -> Image.Image:
    """An image as upright RGB: transparency is dropped, 16-bit pixels lose their lower 8 bits.

    Raises:
        DataError: It cannot be read, or its pixels are neither 8 nor 16 bits.
    """
    if isinstance(source, str | Path):
        return open_image(Path(source), as_rgb)
    if isinstance(source, np.ndarray):
        grey = source.ndim == 2
        if source.dtype != np.uint8 or not (grey or (source.ndim == 3 and source.shape[2] == 3)):
            raise DataError(
                f"an array of {source.dtype} and shape {source.shape} is no image: give (H, W, 3) RGB "
                "or (H, W) grey, uint8."
            )
        if not source.size:
            raise DataError(f"an array of shape {source.shape} has no pixels.")
        source = Image.fromarray(source)
    try:
        return as_rgb(upright(source))
    except (OSError, ValueError) as error:
        raise DataError(f"image {source!r} cannot be read ({error}).") from error


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return accelerator()
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {device} cannot be used here ({error}): give cpu.") from error
    return found
