"""What is printed: every figure whole, at any width, and every letter that the output can show."""

import io
import sys

import pandas as pd
import pytest

from padseg.machine.console import escape_output, print_figures, say
from padseg.metrics.names import METRIC_KEYS
from padseg.run.results import COLUMNS
from padseg.run.table import print_table

WIDTHS = [20, 40, 60, 79, 80, 81, 100, 300]
LONG = "metal_nut_漢字_" * 8
NAMES = ["a", LONG, "two words and more", "[red]"]


def rows() -> pd.DataFrame:
    """Figures that are all different, so that each can be found."""
    table = []
    for run, name in enumerate(NAMES):
        figures = {key: (run * 100 + 10 * at + 1) / 1000 for at, key in enumerate(METRIC_KEYS)}
        costs = {"train_minutes": 1000.5 + run, "peak_memory_mb": None, "images_per_second": 1.0}
        table.append({"label": LONG, "system": "stpm", "category": name, "seed": run + 123456})
        table[-1] |= figures | costs
    return pd.DataFrame(table, columns=list(COLUMNS))


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_no_figure_of_a_run_is_cut(width, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    print_table(rows())
    told = capsys.readouterr().out
    words = told.split()
    for row in rows().to_dict("records"):
        assert str(row["seed"]) in words
        assert f"{row['train_minutes']:.1f}" in words
        for key in METRIC_KEYS:
            assert f"{100 * row[key]:.1f}" in words
    assert "…" not in told
    assert "..." not in told
    squeezed = "".join(words)
    assert "[red]" in squeezed
    lines = told.splitlines()
    if width is None:  # a pipe: one line a run
        assert any(LONG in line and "123457" in line for line in lines)
    else:
        figures = [line for line in lines if "." in line]
        assert all(len(line) <= max(width, 22) for line in figures)


def test_a_mean_over_fewer_rows_is_left_out(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    some = rows().replace({LONG: "x"})
    some.loc[0, "image_auroc"] = None
    print_table(some)
    mean = capsys.readouterr().out.splitlines()[-1].split()
    assert mean[:2] == ["mean", "-"]
    assert mean[2:-1] == [f"{100 * some[key].mean():.1f}" for key in METRIC_KEYS[1:]]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_single_column_of_figures_is_whole(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    print_figures("padseg test", ("figure", "value"), [(LONG, "0.9876543"), ("b", "1.234567e-05")])
    words = capsys.readouterr().out.split()
    assert {"0.9876543", "1.234567e-05"} <= set(words)


def test_a_path_is_shown_as_it_is(capsys):
    say("line:key:3")  # to Rich, a picture
    print_figures("line:key:3", ("category", "IAP"), [("line:key:4", "72.3")])
    out = capsys.readouterr().out
    assert out.count("line:key:3") == 2
    assert "line:key:4" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_names_that_cannot_be_shown_are_escaped(encoding, monkeypatch):
    streams = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, bytes_of in streams.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(bytes_of, encoding, write_through=True))
    escape_output()
    shown = "漢 \udce4 ü"
    sys.stdout.write(f"{shown}\n")
    sys.stderr.write(f"{shown}\n")
    print_figures(shown, ("category", "IAP"), [(shown, "72.3")])
    for bytes_of in streams.values():
        assert (
            bytes_of.getvalue()
            .decode(encoding)
            .startswith("漢 \\udce4 ü" if encoding == "utf-8" else "\\u6f22 \\udce4 ")
        )
    assert "72.3" in streams["stdout"].getvalue().decode(encoding)
