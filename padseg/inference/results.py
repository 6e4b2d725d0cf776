"""The files of predictions.

    maps/<name>.png            score map, 16-bit grey, round(score * 65535)
    overlays/<name>.jpg        the image beside what exceeds the pixel threshold, under verdict and score;
                               outlined if it is anomalous, or always on demand
    masks/<name>.png           1 bit, white where the pixel threshold is exceeded
    predictions.csv            path, width, height, score (normalised: the threshold is 0.5), image_score
                               (raw), anomalous, regions (their number), error
    regions.csv                path, left, top, right, bottom, area, score and peak (the highest score in
                               it, normalised and raw); one row per region
    predictions.json           all of this: a list with one object per image
    options.json               what the files depend on

<name> is the whole path of the image below the folder that all images share, so that names are unique.
Maps and masks have the size of the image. In an overlay, the image has its own size as well, except that
images below 256 pixels are enlarged, and an overlay with a side above 65,500 pixels, the limit of JPEG,
is reduced. Without calibration, there are no verdicts, masks and regions.
The log, `.log-0.jsonl`, gets a line for each image once its files are written. Images in it are
finished, unless their files have changed or their pictures are gone. Images that no longer exist stay in
the tables, except those that could not be read, which have no pictures either. While several processes
predict, each has its own log, `.log-<process>.jsonl`.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from PIL import Image

from padseg.drawing import Banner, HeatScale, judged, score_words, verdict_text
from padseg.errors import DataError, PadsegError
from padseg.inference.images import MOST_PIXELS
from padseg.inference.outcomes import Outcome, log_path, read_log
from padseg.inference.prediction import Prediction
from padseg.machine.files import NO_ROOM, text_written_whole, written_whole
from padseg.machine.marks import is_marked, require_own, save_marked
from padseg.machine.threads import usable_cores
from padseg.models.weight_files import hash_weights
from padseg.modules import AnomalyModule
from padseg.records.score_maps import to_grey

_WAITING = 8  # predictions that a process keeps while their files are written
_JPEG_SIDE = 65_500  # libjpeg writes no longer side


class Results:
    """Writes predictions into a folder, in threads, while the next images are scored.

    Args:
        folder: The folder, `locked`, with the same options as before.
        process: Number of this process; each has a log.
        versions: Version of each image by name, to see whether its file has changed or its pictures are gone; see
            `file_version`. Those of further images may come before these are added.
        outline_all: Whether images that are judged normal are outlined as well.
        report: Called with each outcome once its files are written.

    Attributes:
        done: Version of each image in the log by name; at first without those that failed, have
            changed or lack pictures.
    """

    def __init__(
        self,
        folder: Path,
        process: int = 0,
        versions: Mapping[str, str] | None = None,
        *,
        outline_all: bool = False,
        report: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self.folder = folder
        self.done: dict[str, str | None] = {}
        self._versions = {} if versions is None else versions
        self._outline_all = outline_all
        self._report = report
        self._path = log_path(folder, process)
        if self._path.exists():
            self._drop_outdated()
        self._log = self._path.open("a", encoding="utf-8")
        self._pool = ThreadPoolExecutor(min(8, usable_cores()))
        self._pending: deque[tuple[int, Future[Outcome]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close(wait=raised[0] is None)

    def close(self, wait: bool = True) -> None:
        """Wait for the files, or cancel those that have not been written."""
        try:
            if wait:
                self.finish()
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._log.close()

    def finish(self) -> None:
        """Wait for the files of the images that were added."""
        while self._pending:
            self._settle()

    def _drop_outdated(self) -> None:
        """Reduce the log to the images that are done."""
        with text_written_whole(self._path) as log:
            for outcome in read_log(self._path):
                if self._is_done(outcome):
                    log.write(outcome.to_line())
                    self.done[outcome.path] = outcome.version

    def _is_done(self, outcome: Outcome) -> bool:
        version = self._versions.get(outcome.path)
        if outcome.error is not None or version is None:
            return outcome.error is None
        pictures = picture_paths(self.folder, outcome.path)
        if outcome.anomalous is None:
            del pictures["masks"]
        return version == outcome.version and all(path.exists() for path in pictures.values())

    def add(self, name: str, answer: Prediction | DataError) -> None:
        """Write the files of one image."""
        pixels = 0 if isinstance(answer, DataError) else answer.score_map.size
        self.submit(name, lambda: answer, pixels)
        while len(self._pending) > _WAITING:
            self._settle()

    def submit(self, name: str, predict: Callable[[], Prediction | DataError], pixels: int) -> None:
        """Finish a prediction and write its files, in a thread.

        Args:
            name: Of the image.
            predict: Makes the prediction, or says why the image cannot be read.
            pixels: Of the image or what else it takes; the sum of those that wait is limited.
        """
        version = self._versions.get(name)
        self._pending.append((pixels, self._pool.submit(self._write, name, predict, version)))
        while sum(waiting for waiting, _ in self._pending) > MOST_PIXELS:
            self._settle()

    def _write(
        self, name: str, predict: Callable[[], Prediction | DataError], version: str | None
    ) -> Outcome:
        answer = predict()
        if isinstance(answer, DataError):
            remove_pictures(self.folder, name)  # of an earlier version of its file
            return Outcome(name, error=str(answer))
        outlined = self._outline_all or bool(answer.anomalous)
        try:
            write_files(self.folder, name, answer, outlined)
        except DataError as error:
            return Outcome(name, error=str(error))
        except OSError as error:
            if error.errno in NO_ROOM:  # nor can the next image be written
                raise
            what = error.filename or "a picture of it"
            return Outcome(name, error=f"{what} cannot be written ({error.strerror or error})")
        return Outcome.of(name, answer, version)

    def _settle(self) -> None:
        _, job = self._pending.popleft()
        try:
            outcome = job.result()
            self._log.write(outcome.to_line())
            self._log.flush()
            self.done[outcome.path] = outcome.version
        except OSError as error:
            raise PadsegError(
                f"{self.folder} cannot be written ({error.strerror or error}): make room; the same "
                "command resumes from what is there."
            ) from error
        self._path.stat()  # fails if the folder was moved or deleted: the log that is open went with it
        self._report(outcome)


def picture_paths(folder: Path, name: str) -> dict[str, Path]:
    """The pictures of an image by kind."""
    return {
        "maps": folder / "maps" / f"{name}.png",
        "overlays": folder / "overlays" / f"{name}.jpg",
        "masks": folder / "masks" / f"{name}.png",
    }


def remove_pictures(folder: Path, name: str) -> None:
    """Remove the pictures that padseg wrote of an image, as far as the system allows it."""
    for path in picture_paths(folder, name).values():
        if is_marked(path):
            with suppress(OSError):
                path.unlink()


def file_version(path: Path) -> str:
    """The size of a file and the time of its last change, which identify its version."""
    try:
        status = path.stat()
    except OSError:
        return ""  # a missing file is reported when it is opened
    return f"{status.st_size}-{status.st_mtime_ns}"


def write_files(folder: Path, name: str, prediction: Prediction, outlined: bool) -> None:
    """Write score map, overlay, outlined or not, and mask of one image, all of them or none.

    Raises:
        OSError: One cannot be written.
        DataError: It would replace a file that is not padseg's.
    """
    paths = picture_paths(folder, name)
    for path in paths.values():
        require_own(path)
    overlaid = draw_prediction(prediction, outlined)
    overlaid.thumbnail((_JPEG_SIDE, _JPEG_SIDE))  # only ever shrinks
    # Level 1 takes a third of the time of the default, for files a third larger.
    fast = {"compress_level": 1}
    pictures: dict[Path, tuple[Image.Image, dict[str, int]]] = {
        paths["maps"]: (Image.fromarray(to_grey(prediction.score_map)), fast),
        paths["overlays"]: (overlaid, {"quality": 90}),
    }
    if (mask := prediction.mask) is not None:
        pictures[paths["masks"]] = (Image.fromarray(mask), {})
    try:
        for path, (picture, options) in pictures.items():
            with written_whole(path, durable=False) as temporary:
                save_marked(picture, temporary, **options)
    except OSError:
        remove_pictures(folder, name)
        raise


def heat_scale(predictions: Sequence[Prediction]) -> HeatScale:
    """The scale of the colours of images that were scored with the same thresholds.

    Without calibration, it reaches to the highest score.
    """
    if (calibration := predictions[0].calibration) is not None:
        return HeatScale.of(calibration.pixel_scale)
    return HeatScale(None, top=max(float(each.score_map.max()) for each in predictions))


def draw_prediction(prediction: Prediction, outlined: bool) -> Image.Image:
    """The image beside what exceeds the pixel threshold, outlined or not, under verdict and score."""
    alarm, score = prediction.anomalous, score_words(prediction.image_score, prediction.score)
    banner = Banner(verdict_text(alarm), alarm, f"score {score}")
    scale = heat_scale([prediction])
    return judged(prediction.image, prediction.score_map, scale, banner, outlined)


def results_options(
    module: AnomalyModule,
    precision: str,
    tile: int | None,
    base: Path,
    *,
    outline_all: bool = False,
) -> dict[str, Any]:
    """What results depend on: weights, thresholds, options and the folder of the images."""
    return {
        "checkpoint": hash_weights(module.state_dict()),
        "calibration": None if module.calibration is None else module.calibration.to_dict(),
        "precision": precision,
        "tile": tile,
        "images below": str(base),
        **({"outline all": True} if outline_all else {}),  # absent in results of early versions
    }
