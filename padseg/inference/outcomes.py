"""The result for each image, as the log and predictions.json of a folder of results hold it."""

import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padseg.errors import count
from padseg.inference.prediction import Prediction, Region
from padseg.inference.tiles import Box
from padseg.machine.files import text_written_whole

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result for one image.

    Attributes:
        path: Below the folder that all images share, with forward slashes; the image's name.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        score: The normalised score, see `Prediction`; None without calibration.
        image_score: The raw score, in [0, 1]; None where the image could not be read.
        anomalous: The verdict; None without calibration.
        regions: See `Prediction`.
        error: Why the image could not be read; None where it was.
        version: Of the image's file, see `file_version`; None where it is not known.
    """

    path: str
    width: int = 0
    height: int = 0
    score: float | None = None
    image_score: float | None = None
    anomalous: bool | None = None
    regions: tuple[Region, ...] = ()
    error: str | None = None
    version: str | None = None

    @classmethod
    def of(cls, path: str, prediction: Prediction, version: str | None) -> "Outcome":
        """The outcome of an image that was scored."""
        height, width = prediction.score_map.shape
        return cls(
            path,
            width,
            height,
            prediction.score,
            prediction.image_score,
            prediction.anomalous,
            tuple(prediction.regions),
            version=version,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as predictions.json holds them."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        scored = {**vars(self), "regions": [vars(region) for region in self.regions]}
        del scored["error"], scored["version"]
        return scored

    def to_line(self) -> str:
        """A line of the log."""
        version = {} if self.error is not None else {"version": self.version}
        return json.dumps(self.to_dict() | version) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Outcome":
        """Read what a line of the log holds."""
        regions = tuple(
            Region(Box(*region["box"]), region["area"], region["peak"], region["score"])
            for region in values.get("regions", ())
        )
        return cls(**{**values, "regions": regions})


def log_path(folder: Path, process: int = 0) -> Path:
    """The log of a process, whose number counts from 0."""
    return folder / f".log-{process}.jsonl"


def read_log(path: Path) -> Iterator[Outcome]:
    """The outcomes in a log, except a last one whose writing was interrupted, and damaged ones.

    Of an image that was scored again, the last one counts.
    """
    last: dict[str, int] = {}
    damaged = 0
    with path.open(encoding="utf-8", errors="replace") as log:
        for number, line in enumerate(log):
            if (outcome := _read_line(line)) is not None:
                last[outcome.path] = number
            elif line.endswith("\n"):
                damaged += 1
        if damaged:
            lines = count(damaged, "damaged line")
            _log.warning("%s has %s: their images count as not scored.", path, lines)
        log.seek(0)
        for number, line in enumerate(log):
            outcome = _read_line(line)
            if outcome is not None and last[outcome.path] == number:
                yield outcome


def _read_line(line: str) -> Outcome | None:
    """The outcome in a line; None if that is damaged or not complete."""
    if not line.endswith("\n"):
        return None
    try:
        return Outcome.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):  # not JSON, or not these fields
        return None


def join_logs(folder: Path, processes: int) -> None:
    """Join the logs of several processes, which took turns with the images, into that of the first."""
    logs = [log_path(folder, process) for process in range(processes)]
    if len(logs) == 1:
        return
    with text_written_whole(logs[0]) as joined:
        for turn in itertools.zip_longest(*map(read_log, logs)):
            joined.writelines(outcome.to_line() for outcome in turn if outcome is not None)
    for log in logs[1:]:
        log.unlink()
