"""Results of finished runs as tables."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from padseg.errors import DataError, PadsegError
from padseg.machine.files import read_json, write_text

METRICS = [
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pro",
    "iap",
    "iap90",
]
COLUMNS = [
    *("label", "system", "category", "seed"),
    *METRICS,
    *("train_minutes", "peak_memory_mb", "images_per_second"),
]
_HEADERS = [
    *("\nseed", "image\nAUROC", "image\nAP", "image\nF1max", "pixel\nAUROC", "pixel\nAP"),
    *("pixel\nF1max", "\nPRO", "\nIAP", "IAP\n@90", "train\nmin"),
]


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a run's `metrics.json`. Undefined values in the columns of `results.csv` become nan.

    Raises:
        DataError: It is broken, or not a file of `padseg run`.
    """
    try:
        metrics = read_json(path)
        metrics |= {name: str(metrics[name]) for name in COLUMNS[:3]}
        metrics["seed"] = int(metrics["seed"])
        for name in COLUMNS[4:]:
            value = metrics.get(name)
            metrics[name] = math.nan if value is None else float(value)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{path} is broken: delete it and call padseg run again.") from error
    return metrics


def write_results(out: Path) -> pd.DataFrame:
    """Gather every finished run below `out` into `results.csv`, one row per run.

    Raises:
        DataError: A `metrics.json` is broken.
        PadsegError: The folder cannot be written.
    """
    while True:
        found = sorted(out.glob("*/*/seed*/metrics.json"))
        table = pd.DataFrame([read_metrics(path) for path in found], columns=COLUMNS)
        table = table.sort_values(["label", "category", "seed"], ignore_index=True)
        try:
            write_text(out / "results.csv", table.to_csv(index=False))
        except OSError as error:
            raise PadsegError(
                f"{out} cannot be written ({error.strerror}): pass another --out."
            ) from error
        # Other processes may finish runs meanwhile: whoever writes last must have seen all of them.
        if found == sorted(out.glob("*/*/seed*/metrics.json")):
            return table


def print_results(rows: pd.DataFrame) -> None:
    """Print the rows of one label and their mean, in percent, within 80 columns."""
    if rows.empty:
        return
    title = f"{', '.join(rows['label'].unique())}: test results in percent"
    table = Table(title=title, box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("\ncategory", no_wrap=True)
    for header in _HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows.to_dict("records"):
        table.add_row(
            str(row["category"]),
            str(row["seed"]),
            *(f"{100 * row[name]:.1f}" for name in METRICS),
            f"{row['train_minutes']:.1f}",
        )
    if len(rows) > 1:
        table.add_section()
        means = (f"{100 * rows[name].mean():.1f}" for name in METRICS)
        table.add_row("mean", "", *means, f"{rows['train_minutes'].mean():.1f}")
    Console(markup=False).print(table)  # names may contain brackets
