"""Results of finished runs as tables."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from padseg.errors import PadsegError
from padseg.files import read_json, write_text

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


def write_results(out: Path) -> pd.DataFrame:
    """Gather every finished run below `out` into `results.csv`, a row a run."""
    while True:
        found = sorted(out.glob("*/*/seed*/metrics.json"))
        table = pd.DataFrame([read_json(path) for path in found], columns=COLUMNS)
        table = table.astype(dict.fromkeys(METRICS, float))  # an undefined figure is null in JSON
        table = table.sort_values(["label", "category", "seed"], ignore_index=True)
        try:
            write_text(out / "results.csv", table.to_csv(index=False))
        except OSError as error:
            raise PadsegError(
                f"{out} cannot be written ({error.strerror}): pass another --out."
            ) from error
        # Other processes end their runs meanwhile: whoever writes last must have seen all of them.
        if found == sorted(out.glob("*/*/seed*/metrics.json")):
            return table


def print_results(rows: pd.DataFrame) -> None:
    """Show the rows of one label, and their mean, in percent; it fits a terminal of 80 columns."""
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
    Console(markup=False).print(table)  # names may hold brackets
