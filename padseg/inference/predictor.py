"""The predictor: images in; score maps, scores, verdicts and regions out."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padseg.data.images import resize
from padseg.data.pairs import to_unit
from padseg.errors import ConfigError, DataError, PadsegError
from padseg.inference.images import (
    MOST_PIXELS,
    File,
    ImageSource,
    as_sources,
    count_pixels,
    load_rgb,
    snapshot,
)
from padseg.inference.prediction import Prediction, at_size, make_prediction
from padseg.inference.tiles import Blend, Box, tile_boxes
from padseg.inference.verdicts import warn_of_verdicts
from padseg.machine.precision import PRECISIONS, accelerator, default_precision
from padseg.machine.threads import map_in_threads
from padseg.metrics.calibration import Calibration
from padseg.modules import AnomalyModule
from padseg.modules.loading import load_module
from padseg.names import PRECISION_NAMES
from padseg.options import one_of

_MODES = threading.RLock()  # threads may score with one module


class Predictor:
    """Scores images with a trained module.

    Images may have any size: each is resized to that of the module as in training, and its score map
    back. Without a calibration in the checkpoint, there are scores but no verdicts; see `padseg
    calibrate`.

    Args:
        checkpoint: Checkpoint of a training, a folder or safetensors file for exchange, or a module, which is moved
            to the device and into eval mode; amid its training, it is so only while it scores.
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
        # A module may come from `torch.compile`, in a class of PyTorch.
        module = load_module(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
        self.module = module.to(self.device)
        if not _in_training(module):
            module.eval()
        thresholds = module.calibration
        self.precision = precision or default_precision(
            self.device.type, None if thresholds is None else thresholds.precision
        )
        self._warned = False

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> Self:
        """Score with a folder or safetensors file that `padseg export --format safetensors` wrote.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        return cls(path, **options)

    @property
    def calibration(self) -> Calibration | None:
        """The thresholds and their origin."""
        return self.module.calibration

    # For a type checker, a string or an array is an iterable of images as well.
    @overload
    def __call__(self, images: File | Image.Image) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: NDArray[Any] | Tensor) -> Prediction | list[Prediction]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Iterable[ImageSource]) -> list[Prediction]: ...

    def __call__(
        self, images: ImageSource | Iterable[ImageSource]
    ) -> Prediction | list[Prediction]:
        """Score one image, or several.

        The first call warns if the thresholds were set for scores of other tiles or another precision.

        Args:
            images: The path of a file, its content (bytes, or a file open in binary mode), Pillow's image,
                or an array or a tensor: RGB or grey as (H, W, 3), (3, H, W) or (H, W), uint8, as a tensor
                also floating in [0, 1]; a batch of these, grey as (B, 1, H, W) or (B, H, W, 1); or an iterable
                of images.

        Returns:
            A `Prediction`, or a list of them.

        Raises:
            DataError: An image cannot be read.
        """
        if self.calibration is not None and not self._warned:
            self._warned = True
            warn_of_verdicts(self.calibration, self.precision, self.tile)
        single, sources = as_sources(images)
        predictions: list[Prediction] = []
        for prediction in self.stream(sources):
            if isinstance(prediction, DataError):
                raise prediction
            predictions.append(prediction)
        return predictions[0] if single else predictions

    def stream(self, images: Iterable[ImageSource]) -> Iterator[Prediction | DataError]:
        """Score any number of images, keeping only some in memory.

        The network computes in this thread, while others open the next images and finish the last ones.

        Yields:
            For each image, in order, its prediction or the reason why it cannot be read.
        """
        # One more than a batch, so that the next one is computed before a result is waited for.
        return map_in_threads(
            self._finish, self._scored(images), self.batch_size + 1, _Job.pixels, MOST_PIXELS // 4
        )

    def _scored(self, images: Iterable[ImageSource]) -> Iterator["_Job"]:
        """The images in order, after the network has seen all tiles of each."""
        waiting: deque[_Job] = deque()
        batch: list[tuple[_Job, Box]] = []
        if not isinstance(images, list | tuple):
            images = map(snapshot, images)  # before it is asked for the next ones
        for job in map_in_threads(
            self._open, images, 2 * self.batch_size, count_pixels, MOST_PIXELS
        ):
            waiting.append(job)
            for box in job.boxes:
                batch.append((job, box))
                if len(batch) == self.batch_size:
                    self._score(batch)
                    batch = []
                    while waiting and not waiting[0].left:
                        yield waiting.popleft()
        if batch:
            self._score(batch)
        yield from waiting

    def _open(self, source: ImageSource) -> "_Job":
        try:
            image = load_rgb(source, self.module.bits)
        except DataError as error:
            return _Job(error=error)
        boxes = tile_boxes(image.height, image.width, self.tile)
        job = _Job(image, boxes)
        if len(boxes) == 1:
            job.resized = self._pixels(image, boxes[0])  # here, in a thread
        else:
            job.blend = Blend(image.height, image.width)
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
        image = torch.from_numpy(np.stack(pixels))
        if self.device.type == "cuda":
            image = image.pin_memory()  # so that nobody waits for the copy
        scores = self.score(to_unit(image.to(self.device, non_blocking=True)))
        for (job, box), score_map, image_score in zip(
            batch, scores["score_map"].cpu(), scores["image_score"].tolist(), strict=True
        ):
            if job.blend is None:
                job.score_map = score_map
            else:
                size = (box.bottom - box.top, box.right - box.left)
                job.blend.add(box, at_size(score_map, size))
            job.image_score = max(job.image_score, image_score)
            job.left -= 1

    def _finish(self, job: "_Job") -> Prediction | DataError:
        """Enlarge the score map and apply the thresholds, in a thread."""
        if job.error is not None:
            return job.error
        assert job.image is not None
        if job.blend is not None:
            score_map = job.blend.result()
        else:
            assert job.score_map is not None
            score_map = at_size(job.score_map, (job.image.height, job.image.width))
        return make_prediction(job.image, score_map, job.image_score, self.module.calibration)

    def score(self, image: Tensor) -> dict[str, Tensor]:
        """The module's output for (B, 3, H, W) on its device, in this predictor's precision.

        Raises:
            PadsegError: A score is not finite.
        """
        dtype = PRECISIONS[self.precision]
        with (
            _eval_mode(self.module),
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


@dataclass
class _Job:
    """An image in progress; `left` counts the tiles that are not scored yet, `blend` joins several."""

    image: Image.Image | None = None
    boxes: list[Box] = field(default_factory=list)
    blend: Blend | None = None
    error: DataError | None = None
    resized: NDArray[np.uint8] | None = None
    score_map: Tensor | None = None
    image_score: float = 0.0

    def __post_init__(self) -> None:
        self.left = len(self.boxes)

    def pixels(self) -> int:
        """Number of pixels; 0 if it cannot be read."""
        return 0 if self.image is None else self.image.height * self.image.width


@contextmanager
def _eval_mode(module: AnomalyModule) -> Iterator[None]:
    """Score in eval mode, even during a training, which gets its mode back afterwards."""
    if not _in_training(module):
        yield
        return
    with _MODES:
        before = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            yield
        finally:
            for part, training in before:
                part.training = training


def _in_training(module: AnomalyModule) -> bool:
    return module._trainer is not None and module.trainer.training


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return accelerator()
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # that of `meta` has no value
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {device} cannot be used here ({error}): give cpu.") from error
    return found
