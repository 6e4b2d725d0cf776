"""Read the folders of finished runs."""

import logging
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from padseg.errors import DataError, PadsegError
from padseg.machine.files import read_json
from padseg.machine.folders import differing_options
from padseg.records import COLUMNS as IMAGE_COLUMNS
from padseg.records import picture_path, read_records
from padseg.report.trainings import Losses, read_losses, read_options
from padseg.run.files import METRICS_FILE, find_copies, find_finished
from padseg.run.results import COLUMNS, RunResult, read_result
from padseg.run.runs import OF_ONE_RUN

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """One finished run.

    Attributes:
        folder: `OUT/<label>/<category>/seed<k>`.
        result: What its `metrics.json` holds.
        images: The table of the records, one row per test image; empty if there are no records.
        curves: From the name of a curve to its axes and their values; an infinite threshold is None.
        losses: See `read_losses`.
        options: See `read_options`.
        missing: What could not be read and why, as short phrases.
    """

    folder: Path
    result: RunResult
    images: pd.DataFrame
    curves: dict[str, dict[str, list[float | None]]]
    losses: Losses
    options: dict[str, str]
    missing: list[str]

    @property
    def label(self) -> str:
        """Name of the variant."""
        return self.result.label

    @property
    def category(self) -> str:
        """Category of the data set."""
        return self.result.category

    @property
    def seed(self) -> int:
        """Seed."""
        return self.result.seed

    @property
    def name(self) -> str:
        """Its folder, relative to that of all runs."""
        return self.folder.relative_to(self.folder.parents[2]).as_posix()

    def picture(self, kind: str, index: int) -> Path:
        """Path of a picture; `kind` is maps, thumbs or masks."""
        return picture_path(self.folder, kind, index)


def read_runs(out: Path) -> tuple[list[FinishedRun], list[DataError]]:
    """Read every finished run below a folder.

    Returns:
        The runs, ordered by category, label and seed, and the errors of those whose `metrics.json` is broken.

    Raises:
        PadsegError: There is none.
    """
    if not out.is_dir():
        raise PadsegError(f"{out} is not a folder: pass the --out folder of padseg run.")
    paths = find_finished(out)
    if copies := find_copies(out):
        names = ", ".join(folder.relative_to(out).as_posix() for folder in copies)
        _log.warning("%s: left out, as folders of runs are named seed<k>.", names)
    if not paths:
        raise PadsegError(
            f"{out} holds no finished run (<label>/<category>/seed<k>/{METRICS_FILE}): pass the --out "
            "folder of padseg run."
        )
    runs: list[FinishedRun] = []
    broken: list[DataError] = []
    for path in paths:
        try:
            runs.append(_read_run(path))
        except DataError as error:
            broken.append(error)
    return sorted(runs, key=lambda run: (run.category, run.label, run.seed)), broken


def further_metrics(runs: list[FinishedRun]) -> list[str]:
    """The metrics of the runs that `results.csv` does not hold."""
    return list(dict.fromkeys(key for run in runs for key in run.result.further_metrics))


def results(runs: list[FinishedRun]) -> pd.DataFrame:
    """The rows of `results.csv`, and columns of further metrics."""
    rows = [{**run.result.row(), **run.result.further_metrics} for run in runs]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *further_metrics(runs)])
    return table.astype(dict.fromkeys(further_metrics(runs), float))


def resolutions(runs: list[FinishedRun]) -> dict[str, str]:
    """At which size the pixel figures of each variant were computed, in words, where that is known."""
    found: dict[str, list[str]] = {}
    for run in runs:
        if run.result.evaluation is not None:
            found.setdefault(run.label, []).append(run.result.evaluation.resolution)
    return {label: " or ".join(dict.fromkeys(words)) for label, words in found.items()}


def notes(runs: list[FinishedRun]) -> list[str]:
    """At which size pixel figures were computed, and what may have changed figures, as lines."""
    return [
        *(f"{label}: {words}" for label, words in resolutions(runs).items()),
        *(f"{names}: {warning}" for names, warning in warnings_of(runs)),
    ]


def warnings_of(runs: list[FinishedRun]) -> list[tuple[str, str]]:
    """What may have changed figures or makes runs incomparable: the runs' names, and a sentence."""
    warned: dict[str, list[str]] = {}
    for run in runs:
        for warning in run.result.evaluation.warnings if run.result.evaluation else ():
            warned.setdefault(warning, []).append(run.name)
    found = [(", ".join(names), warning) for warning, names in warned.items()]
    for label in dict.fromkeys(run.label for run in runs):
        of_label = [run for run in runs if run.label == label]
        if differing := _differing(of_label, leave_out=OF_ONE_RUN):
            words = f"its runs differ in {', '.join(differing)}: their mean and spread mix several variants."
            found.append((label, words))
    for category in dict.fromkeys(run.category for run in runs):
        if "images" in _differing([run for run in runs if run.category == category]):
            words = "its runs saw different images, or other labels of them: do not compare their figures."
            found.append((category, words))
    return found


def _differing(runs: list[FinishedRun], leave_out: AbstractSet[str] = frozenset()) -> list[str]:
    """The options of `Run.results_depend_on` in which runs differ, where that is known."""
    options = [run.result.fingerprint.options for run in runs if run.result.fingerprint is not None]
    return differing_options(options, leave_out)


def _read_run(path: Path) -> FinishedRun:
    missing: list[str] = []
    result = read_result(path)
    if result.calibration is None:
        missing.append("no calibrated threshold")
    images = pd.DataFrame(columns=IMAGE_COLUMNS)
    try:
        images = read_records(path.parent).table
    except FileNotFoundError:
        missing.append("no images.csv, therefore no scores and no pictures")
    except (ValueError, OSError) as error:
        missing.append(f"images.csv is broken ({error})")
    curves = {}
    try:
        curves = _read_curves(path.with_name("curves.json"))
    except FileNotFoundError:
        missing.append("no curves.json")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        missing.append(f"curves.json is broken ({error})")
    losses: Losses = {}
    options: dict[str, str] = {}
    try:
        losses = read_losses(path.parent)
        options = read_options(path.parent)
    except (ValueError, OSError) as error:
        missing.append(f"a log of the training is broken ({error})")
    if result.fingerprint is not None:
        options |= _trainer_options(result.fingerprint.options, options)
    return FinishedRun(
        folder=path.parent,
        result=result,
        images=images,
        curves=curves,
        losses=losses,
        options=options,
        missing=missing,
    )


def _trainer_options(made_with: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """The options of the Trainer that were given to a run, for each of its phases."""
    phases = dict.fromkeys(name.partition(" ")[0] for name in known)
    return {
        f"{phase} {key}": str(value)
        for phase in phases
        for key, value in made_with.get("overrides", {}).items()
        if key.startswith("trainer.")
    }


def _read_curves(path: Path) -> dict[str, dict[str, list[float | None]]]:
    content = read_json(path)
    return {
        str(name): {
            str(axis): [
                float(value) if value is not None and math.isfinite(value) else None
                for value in values
            ]
            for axis, values in curve.items()
        }
        for name, curve in content.items()
    }
