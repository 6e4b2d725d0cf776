"""What a finished run's logs say about its training: the losses, and the options of each phase."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from padseg.records import spread
from padseg.run.files import PhaseFiles

PHASES = ("distill", "segment")
_POINTS = 300  # of a curve
_LOSS = "train_loss"
# Results do not depend on where files lie, and a page that is passed on should not tell.
_PATHS = frozenset({"root", "textures", "weights", "weights2", "distilled", "foreground"})
_NO_PATHS = ("otsu", "pretrained", "random")  # words that such an option takes as well
_TRAINER = ("max_steps", "precision")
_SECTIONS = ("model", "data", "thresholds")

Losses = dict[str, list[tuple[int, float]]]
"""From a phase to pairs of step and loss."""


def read_losses(run: Path) -> Losses:
    """The training losses that were logged, in the order of their steps.

    Logs of interrupted processes are included; where two have the same step, the later one counts.

    Raises:
        ValueError: A log is broken.
    """
    found = {}
    for phase in PHASES:
        points: dict[int, float] = {}
        for path in _logs(PhaseFiles(run, phase).logs):
            table = pd.read_csv(path)
            if {"step", _LOSS} <= set(table):
                logged = table[["step", _LOSS]].dropna().apply(pd.to_numeric)
                points |= {
                    int(step): float(loss)
                    for step, loss in logged.itertuples(index=False)
                    if math.isfinite(loss)
                }
        if points:
            steps = sorted(points.items())
            found[phase] = [steps[place] for place in spread(len(steps), _POINTS)]
    return found


def read_options(run: Path) -> dict[str, str]:
    """The options of each phase, without paths and those that are left to the system.

    Returns:
        From `<phase> <section>.<option>`, such as `distill model.lr`, to the value.

    Raises:
        ValueError: A configuration is broken.
    """
    found: dict[str, str] = {}
    for phase in PHASES:
        path = PhaseFiles(run, phase).logs / "config.yaml"
        if not path.is_file():
            continue
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            chosen = dict(_chosen(config))
        except (yaml.YAMLError, AttributeError, TypeError) as error:
            raise ValueError(f"{phase}: {' '.join(str(error).split())}") from error
        found |= {f"{phase} {name}": value for name, value in chosen.items()}
    return found


def _logs(folder: Path) -> list[Path]:
    """`metrics-<n>.csv` of the interrupted processes, in their order, then `metrics.csv`."""
    earlier = [path for path in folder.glob("metrics-*.csv") if path.stem[8:].isdecimal()]
    return [
        *sorted(earlier, key=lambda path: int(path.stem[8:])),
        *folder.glob("metrics.csv"),
    ]


def _chosen(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section in _SECTIONS:
        yield from _flat(section, config.get(section) or {})
    trainer = config.get("trainer") or {}
    yield from _flat("trainer", {name: trainer.get(name) for name in _TRAINER})


def _flat(name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    options = options.get("init_args", options)
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{name}.{key}", value)
        elif value is not None and (key not in _PATHS or value in _NO_PATHS):
            yield f"{name}.{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
