"""The results of runs as named records, and their JSON files."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from padseg.errors import DataError
from padseg.machine.files import read_json, write_json
from padseg.metrics.calibration import Calibration
from padseg.metrics.evaluation import Evaluation
from padseg.metrics.names import METRIC_KEYS

COLUMNS = (
    *("label", "system", "category", "seed"),
    *METRIC_KEYS,
    *("train_minutes", "peak_memory_mb", "images_per_second"),
)
"""The columns of `results.csv`: the metrics, and attributes of `RunResult`."""
_FURTHER = "further_metrics"
_WRONG_CONTENT = (ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class TrainingCost:
    """The cost of training one phase, in `<phase>-trained.json`.

    Attributes:
        train_minutes: Wall-clock minutes of all processes that took part in it.
        peak_memory_mb: Peak memory in MiB of the process that finished it, on the GPU or, without one,
            of the process; None if unknown.
    """

    train_minutes: float
    peak_memory_mb: float | None


@dataclass(frozen=True)
class PhaseResult:
    """The result of one phase, in `<phase>.json`.

    Attributes:
        metrics: On the test images by the keys of `padseg.metrics.names`, [0, 1], and by the names of
            plugins' metrics; None if undefined.
        train_minutes: As in `TrainingCost`.
        peak_memory_mb: Peak of training and test in MiB; None if unknown.
        images_per_second: Test images per second, including decoding and metrics; None without a test.
        calibration: Thresholds; None without held-out images.
        teacher_sha256: SHA-256 of the teachers' weights, in hexadecimal.
        precision: Lightning's name of the precision, such as `32-true`.
        device: The name of the GPU, or the architecture of the CPU.
        steps: Number of optimiser steps of the saved weights.
        resumed_from_step: The step at which the process that finished the training began.
        evaluation: What the metrics depend on; None without a test, and in files of early versions.
    """

    metrics: Mapping[str, float | None]
    train_minutes: float
    peak_memory_mb: float | None
    images_per_second: float | None
    calibration: Calibration | None
    teacher_sha256: str
    precision: str | None
    device: str | None
    steps: int
    resumed_from_step: int
    evaluation: Evaluation | None = None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "PhaseResult":
        """Read the content of a JSON file; early versions of padseg wrote fewer values.

        Raises:
            KeyError: A value is missing.
        """
        early: dict[str, Any] = dict.fromkeys(("calibration", "precision", "device", "evaluation"))
        known = early | dict(content)
        known["metrics"] = dict.fromkeys(METRIC_KEYS) | dict(known["metrics"])
        known["evaluation"] = Evaluation.from_dict(known["evaluation"])
        known["calibration"] = _calibration(known["calibration"])
        return cls(**{field.name: known[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Fingerprint:
    """What a result depends on.

    Attributes:
        options: The options of `Run.results_depend_on`, in plain values.
        versions: Versions of padseg, Python and the packages.
        data_sha256: SHA-256 of the category's files and the textures.
        teacher_sha256: SHA-256 of the teachers' weights.
        precision: Lightning's name of the precision, by phase.
        device: The device, by phase.
        resumed_from_step: Optimiser steps of all phases that were done before the last process began.
    """

    options: Mapping[str, Any]
    versions: Mapping[str, str]
    data_sha256: str
    teacher_sha256: str
    precision: Mapping[str, str | None]
    device: Mapping[str, str | None]
    resumed_from_step: int

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Fingerprint":
        """Read the content of a JSON file; early versions of padseg wrote fewer values.

        Raises:
            KeyError: A value is missing.
        """
        known = {"precision": {}, "device": {}, "resumed_from_step": 0, **content}
        return cls(**{field.name: known[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class RunResult:
    """The result of a run, in its `metrics.json`.

    Values that may be missing in files of other origin are None.

    Attributes:
        label: Name of the variant.
        system: Name of the system.
        category: Category of the data set.
        seed: Seed.
        metrics: Metrics of the last phase; see `PhaseResult`.
        train_minutes: Minutes of all phases together.
        peak_memory_mb: Highest peak of the phases, in MiB.
        images_per_second: Speed of the last phase.
        calibration: Thresholds of the last phase.
        distill: The result of the first phase.
        fingerprint: What the result depends on.
        evaluation: As in `PhaseResult`, of the last phase.
    """

    label: str
    system: str
    category: str
    seed: int
    metrics: Mapping[str, float | None]
    train_minutes: float | None
    peak_memory_mb: float | None
    images_per_second: float | None
    calibration: Calibration | None
    distill: PhaseResult | None
    fingerprint: Fingerprint | None
    evaluation: Evaluation | None = None

    @classmethod
    def read(cls, path: Path) -> "RunResult":
        """Read a `metrics.json`.

        Raises:
            DataError: It is broken, or written by another program.
        """
        try:
            content = read_json(path)
            distill, fingerprint = content.get("distill"), content.get("fingerprint")
            costs = ("train_minutes", "peak_memory_mb", "images_per_second")
            return cls(
                label=str(content["label"]),
                system=str(content["system"]),
                category=str(content["category"]),
                seed=int(content["seed"]),
                metrics={key: _number(content.get(key)) for key in METRIC_KEYS}
                | {key: _number(value) for key, value in content.get(_FURTHER, {}).items()},
                **{name: _number(content.get(name)) for name in costs},
                calibration=_calibration(content.get("calibration")),
                distill=None if distill is None else PhaseResult.from_dict(distill),
                fingerprint=None if fingerprint is None else Fingerprint.from_dict(fingerprint),
                evaluation=Evaluation.from_dict(content.get("evaluation")),
            )
        except (*_WRONG_CONTENT, OSError) as error:
            raise DataError(f"{path} is broken: delete it and call padseg run again.") from error

    def write(self, path: Path) -> None:
        """Write a `metrics.json`."""
        rest = asdict(self)
        write_json(
            path,
            self._columns()
            | {name: rest[name] for name in ("calibration", "distill", "fingerprint", "evaluation")}
            | {_FURTHER: self.further_metrics},
        )

    @property
    def further_metrics(self) -> dict[str, float | None]:
        """The metrics that `results.csv` does not hold."""
        return {key: value for key, value in self.metrics.items() if key not in METRIC_KEYS}

    def row(self) -> dict[str, str | int | float]:
        """The row of `results.csv`, with nan for undefined values."""
        return {
            name: math.nan if value is None else value for name, value in self._columns().items()
        }

    def _columns(self) -> dict[str, str | int | float | None]:
        own = {**self.metrics, **vars(self)}
        return {name: own[name] for name in COLUMNS}


def read_result(path: Path) -> RunResult:
    """Read the `metrics.json` of a run, `OUT/<label>/<category>/seed<k>/metrics.json`.

    Label and category are those of its folders, so that one which was copied counts as another variant and not
    as a second run with the same seed.

    Raises:
        DataError: As `RunResult.read`.
    """
    label, category = (path.parents[level].name for level in (2, 1))
    return replace(RunResult.read(path), label=label, category=category)


def read_phase_result(path: Path) -> PhaseResult:
    """Read a `<phase>.json`.

    Raises:
        DataError: It is broken.
    """
    try:
        return PhaseResult.from_dict(read_json(path))
    except _WRONG_CONTENT as error:
        raise DataError(f"{path} is broken: delete it and call padseg run again.") from error


def _calibration(content: Mapping[str, Any] | None) -> Calibration | None:
    return None if content is None else Calibration.from_dict(content)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
