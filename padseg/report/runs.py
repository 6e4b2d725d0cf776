"""Reading what finished runs left in their folders."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from padseg.errors import PadsegError
from padseg.report.tables import COLUMNS, read_metrics

_IMAGE_COLUMNS = ["index", "path", "defect", "label", "image_score"]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: `OUT/<label>/<category>/seed<k>`.
        row: The row of `results.csv`.
        images: A row a test image: index, path, defect, label, image_score; empty when not recorded.
        curves: From the curve's name to axis to values; an infinite threshold is None.
        threshold: Calibrated threshold on image scores, if any.
        missing: What could not be read, and why, a phrase each.
    """

    folder: Path
    row: dict[str, Any]
    images: pd.DataFrame
    curves: dict[str, dict[str, list[float | None]]]
    threshold: float | None
    missing: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Name of the variant."""
        return str(self.row["label"])

    @property
    def category(self) -> str:
        """Category of the data set."""
        return str(self.row["category"])

    @property
    def seed(self) -> int:
        """Seed."""
        return int(self.row["seed"])

    def picture(self, kind: str, index: int) -> Path:
        """Path of a picture; `kind` is maps, thumbs or masks."""
        return self.folder / kind / f"{index:05d}.{'jpg' if kind == 'thumbs' else 'png'}"


def read_runs(out: Path) -> list[Run]:
    """Read every finished run below a folder, ordered by category, label and seed.

    Raises:
        PadsegError: There is none.
        DataError: A `metrics.json` is broken.
    """
    if not out.is_dir():
        raise PadsegError(f"{out} is no folder: pass the --out folder of padseg run.")
    paths = sorted(out.glob("*/*/seed*/metrics.json"))
    if not paths:
        raise PadsegError(
            f"{out} holds no finished run (<label>/<category>/seed<k>/metrics.json): pass the --out "
            "folder of padseg run."
        )
    runs = [_read_run(path) for path in paths]
    return sorted(runs, key=lambda run: (run.category, run.label, run.seed))


def results(runs: list[Run]) -> pd.DataFrame:
    """The rows of `results.csv`."""
    return pd.DataFrame([run.row for run in runs], columns=COLUMNS)


def _read_run(path: Path) -> Run:
    missing: list[str] = []
    metrics = read_metrics(path)
    row = {name: metrics[name] for name in COLUMNS}
    threshold = None
    try:
        calibrated = float(metrics["calibration"]["image_threshold"])
        threshold = calibrated if math.isfinite(calibrated) else None
    except (KeyError, TypeError, ValueError):
        missing.append("no calibrated threshold")
    images = pd.DataFrame(columns=_IMAGE_COLUMNS)
    try:
        images = _read_images(path.with_name("images.csv"))
    except FileNotFoundError:
        missing.append("no images.csv, hence no scores and pictures")
    except (ValueError, KeyError, OSError) as error:
        missing.append(f"images.csv is broken ({error})")
    curves = {}
    try:
        curves = _read_curves(path.with_name("curves.json"))
    except FileNotFoundError:
        missing.append("no curves.json")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        missing.append(f"curves.json is broken ({error})")
    return Run(path.parent, row, images, curves, threshold, missing)


def _read_images(path: Path) -> pd.DataFrame:
    # Everything is text first: a defect may be called "NA" or "007".
    table = pd.read_csv(path, dtype=str, keep_default_na=False)[_IMAGE_COLUMNS]
    table = table.astype({"index": int, "label": int, "image_score": float})
    if not table["label"].isin([0, 1]).all():
        raise ValueError("a label other than 0 and 1")
    if not table["image_score"].map(math.isfinite).all():
        raise ValueError("a score that is not finite")
    if table["index"].duplicated().any() or table["path"].duplicated().any():
        raise ValueError("an image twice")
    return table.sort_values("index", ignore_index=True)


def _read_curves(path: Path) -> dict[str, dict[str, list[float | None]]]:
    content = json.loads(path.read_text(encoding="utf-8"))
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
