"""Results that a folder holds already."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from padseg.errors import ConfigError
from padseg.inference.outcomes import read_log
from padseg.inference.predictor import Predictor
from padseg.inference.results import remove_pictures, results_options
from padseg.machine.folders import OPTIONS_FILE, locked, recorded_options, require_same_options

_TABLES = ("predictions.csv", "regions.csv", "predictions.json")
_REMEDY = "add --overwrite to replace them, or pass another --out"


@contextmanager
def claimed(
    folder: Path, predictor: Predictor, base: Path, *, outline_all: bool, overwrite: bool
) -> Iterator[None]:
    """Lock a folder and record what its results depend on; those that it holds must depend on the same.

    Args:
        folder: The folder for the results.
        predictor: Scores the images.
        base: The folder that the names of the images start from.
        outline_all: Whether images that are judged normal are outlined as well.
        overwrite: Whether to remove earlier results first; files of others stay.

    Raises:
        ConfigError: The folder holds results of another checkpoint, other thresholds or other options, or
            those of another command.
    """
    with locked(folder):
        refuse_files_of_others(folder)
        options = results_options(
            predictor.module, predictor.precision, predictor.tile, base, outline_all=outline_all
        )
        if overwrite:
            _remove_results(folder)
        _require_same_thresholds(folder, options)
        require_same_options(folder, options, _REMEDY)
        yield


def refuse_files_of_others(folder: Path) -> None:
    """Reject a folder in which files of the same names would be replaced.

    Raises:
        ConfigError: There are some.
    """
    recorded = recorded_options(folder)
    tables = [folder / name for name in _TABLES if (folder / name).exists()]
    if recorded is None and tables:
        raise ConfigError(f"{tables[0]} is not padseg's: pass another --out.")
    if recorded is not None and "checkpoint" not in recorded:
        raise ConfigError(
            f"{folder / OPTIONS_FILE} belongs to a run or another program: pass another --out."
        )


def _remove_results(folder: Path) -> None:
    for log in folder.glob(".log-*.jsonl"):
        for outcome in read_log(log):
            remove_pictures(folder, outcome.path)
        log.unlink()
    for name in (*_TABLES, OPTIONS_FILE):
        (folder / name).unlink(missing_ok=True)


def _require_same_thresholds(folder: Path, options: Mapping[str, Any]) -> None:
    """Reject a folder whose results differ in their thresholds alone, with a message about these.

    Raises:
        ConfigError: They do.
    """
    before = recorded_options(folder) or options
    if any(before.get(name) != options[name] for name in options if name != "calibration"):
        return
    then, now = (_thresholds(found["calibration"]) for found in (before, options))
    if then != now:
        raise ConfigError(
            f"{folder} holds images judged by other thresholds ({then}, now {now}): {_REMEDY}."
        )


def _thresholds(calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return "none"
    return f"{calibration['image_threshold']:.9g} and {calibration['pixel_threshold']:.9g}"
