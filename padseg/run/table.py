"""`results.csv`, with one row per finished run."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from padseg.errors import DataError, PadsegError
from padseg.machine.console import print_figures
from padseg.machine.files import write_text
from padseg.metrics.names import METRIC_KEYS, METRICS
from padseg.run.files import TABLE_FILE, find_finished
from padseg.run.results import COLUMNS, read_result

_log = logging.getLogger(__name__)
_MAIN = ("image_auroc", "pixel_auroc", "pixel_ap", "pro")


def write_table(out: Path) -> pd.DataFrame:
    """Gather every finished run below `out` into `results.csv`, one row per run; broken ones are left out.

    Raises:
        PadsegError: The folder cannot be written.
    """
    while True:
        found = find_finished(out)
        rows = [row for path in found if (row := _row(path)) is not None]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        table = table.sort_values(["label", "category", "seed"], ignore_index=True)
        try:
            write_text(out / TABLE_FILE, table.to_csv(index=False))
        except OSError as error:
            raise PadsegError(
                f"{out} cannot be written ({error.strerror}): pass another --out."
            ) from error
        # Other processes may finish runs meanwhile: whoever writes last must have seen all of them.
        if found == find_finished(out):
            return table


def _row(path: Path) -> dict[str, Any] | None:
    try:
        return read_result(path).row()
    except DataError as error:  # of one run, which is no reason to lose the table of the others
        _log.warning("%s It is left out of %s.", error, TABLE_FILE)
        return None


def print_table(rows: pd.DataFrame) -> None:
    """Print the rows of one label and their mean, in percent."""
    rows = rows[rows[list(METRIC_KEYS)].notna().any(axis=1)]
    if rows.empty:
        return
    headers = ["category", "seed", *(metric.short_title for metric in METRICS), "train\nmin"]
    lines = [
        [
            str(row["category"]),
            str(row["seed"]),
            *(_percent(row[metric.key]) for metric in METRICS),
            f"{row['train_minutes']:.1f}",
        ]
        for row in rows.to_dict("records")
    ]
    # A mean over fewer categories would not be comparable.
    means = [_percent(rows[metric.key].mean(skipna=False)) for metric in METRICS]
    mean = ["mean", "", *means, f"{rows['train_minutes'].mean():.1f}"] if len(rows) > 1 else []
    title = f"{', '.join(rows['label'].unique())}: test results in percent"
    print_figures(title, headers, lines, mean)


def metrics_line(metrics: Mapping[str, float | None]) -> str:
    """The main metrics of a run in one line, in percent; undefined ones are left out."""
    figures = (
        f"{metric.title} {100 * value:.1f}"
        for metric in METRICS
        if metric.key in _MAIN and (value := metrics[metric.key]) is not None
    )
    return ", ".join(figures) or "no metric is defined"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else "-"
