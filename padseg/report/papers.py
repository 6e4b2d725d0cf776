"""Result tables in the form of the papers, with the published figures beside ours.

`published.csv` holds the published figures in percent, `published_sources.csv` their sources: the
tables of Zhang et al., CVPR 2023 (DeSTSeg), and Song et al., 2025 (PFADSeg).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

# MVTec AD's categories and their numbers of test images, by which other data sets with the same names are told apart.
TEXTURES = {"carpet": 117, "grid": 78, "leather": 124, "tile": 117, "wood": 79}
OBJECTS = {
    "bottle": 83, "cable": 150, "capsule": 132, "hazelnut": 110, "metal_nut": 115,
    "pill": 167, "screw": 160, "toothbrush": 42, "transistor": 100, "zipper": 151,
}  # fmt: skip
TEST_IMAGES = TEXTURES | OBJECTS
TABLES = {
    "Image AUROC": ("image_auroc",),
    "Pixel AUROC / AP": ("pixel_auroc", "pixel_ap"),
    "IAP / IAP@90": ("iap", "iap90"),
}
_FOLDER = Path(__file__).parent
_DASH = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Figure:
    """Mean over seeds, and their sample standard deviation; nan where undefined."""

    mean: float
    spread: float


def summarise(rows: pd.DataFrame, metric: str) -> Figure:
    """Mean and spread over seeds of the mean over categories.

    If the categories have different seeds, there is no spread, and the mean is that of the categories' means.
    If the metric is undefined in a whole category, such as one without masks, there is neither: a mean over
    fewer categories would not be comparable.

    Args:
        rows: Rows of `results.csv` with one label.
        metric: A column of it.
    """
    known = rows.dropna(subset=[metric])
    if known.empty or set(known["category"]) != set(rows["category"]):
        return Figure(math.nan, math.nan)
    grid = known.groupby(["seed", "category"])[metric].mean().unstack()
    if grid.isna().any(axis=None):
        return Figure(float(grid.mean().mean()), math.nan)
    seeds = grid.mean(axis=1)
    return Figure(float(seeds.mean()), float(seeds.std(ddof=1)))


def read_published() -> pd.DataFrame:
    """The published figures in percent: method, category, then each metric and `<metric>_std`."""
    return pd.read_csv(_FOLDER / "published.csv")


def read_sources() -> pd.DataFrame:
    """The sources of the published figures: method, system (or empty), source, link, note."""
    return pd.read_csv(_FOLDER / "published_sources.csv", keep_default_na=False)


def comparable(table: pd.DataFrame, counts: Mapping[str, int]) -> list[str]:
    """Categories that are MVTec AD's.

    Their name and number of test images must match. If a number is unknown, all names must match.

    Args:
        table: Rows of `results.csv`.
        counts: Number of test images by category, where it is known.
    """
    names = list(dict.fromkeys(table["category"]))
    all_known = all(name in TEST_IMAGES for name in names)
    return [
        name
        for name in names
        if name in TEST_IMAGES
        and (counts[name] == TEST_IMAGES[name] if name in counts else all_known)
    ]


def paper_tables(table: pd.DataFrame, counts: Mapping[str, int]) -> dict[str, pd.DataFrame]:
    """The three tables: a row for each category and average, a column for each method, as in the papers.

    Published columns appear only if every category is MVTec AD's. Published averages are taken over
    the same categories as ours.
    """
    present = list(dict.fromkeys(table["category"]))
    published = read_published()
    methods = []
    if set(comparable(table, counts)) == set(present):
        methods = list(dict.fromkeys(published["method"]))
    groups = _groups(present)
    labels = list(dict.fromkeys(table["label"]))
    tables = {}
    for title, metrics in TABLES.items():
        content: dict[str, list[str]] = {}
        for method in methods:
            rows = published[published["method"] == method]
            cells = [_published(rows, name, group, metrics) for name, group in groups]
            if set(cells) != {_DASH}:
                content[method] = cells
        for label in labels:
            rows = table[table["label"] == label]
            content[f"{label} (ours)"] = [_ours(rows, group, metrics) for _, group in groups]
        tables[title] = pd.DataFrame(content, index=[name for name, _ in groups])
    return tables


def markdown(tables: Mapping[str, pd.DataFrame]) -> str:
    """The tables for a README, all figures in percent."""
    parts = []
    for title, table in tables.items():
        head = ["category", *table.columns]
        lines = [head, ["---"] * len(head), *([name, *table.loc[name]] for name in table.index)]
        body = "\n".join("| " + " | ".join(map(escape_markdown, line)) + " |" for line in lines)
        parts.append(f"**{title}** (%)\n\n{body}\n")
    return "\n".join([*parts, *(f"- {note}" for note in _notes(tables)), ""])


def latex(tables: Mapping[str, pd.DataFrame]) -> str:
    r"""The tables for a paper, all figures in percent; they need `\usepackage{booktabs}`."""
    parts = [r"% \usepackage{booktabs}"]
    for title, table in tables.items():
        lines = [" & ".join(map(escape_latex, ["category", *table.columns])) + r" \\", r"\midrule"]
        for name in table.index:
            if name.startswith(("average", "textures", "objects")):
                lines.append(r"\midrule")
            lines.append(" & ".join(map(escape_latex, [name, *table.loc[name]])) + r" \\")
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(title)} (\%).}}",
            rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join([*parts, *(f"% {escape_latex(note)}" for note in _notes(tables)), ""])


def _groups(present: list[str]) -> list[tuple[str, list[str]]]:
    """Rows of the tables: their name and the categories that they cover."""
    textures = [name for name in TEXTURES if name in present]
    objects = [name for name in OBJECTS if name in present]
    others = sorted(set(present) - {*textures, *objects})
    if others:  # another data set, whose names mean something else
        textures, objects, others = [], [], sorted(present)
    groups: list[tuple[str, list[str]]] = []
    for name, members in (("textures", textures), ("objects", objects), ("", others)):
        groups += [(member, [member]) for member in members]
        if name and len(members) > 1:
            groups.append((_mean_name(name, members), members))
    if len(present) > 1:
        groups.append((_mean_name("average", present), present))
    return groups


def _mean_name(name: str, members: list[str]) -> str:
    whole = {"textures": len(TEXTURES), "objects": len(OBJECTS)}.get(name, len(TEST_IMAGES))
    return name if len(members) == whole else f"{name} ({len(members)})"


def _ours(rows: pd.DataFrame, categories: list[str], metrics: tuple[str, ...]) -> str:
    rows = rows[rows["category"].isin(categories)]
    # A mean over fewer categories than the others would not be comparable.
    if rows["category"].nunique() < len(categories):
        return _DASH
    figures = [summarise(rows, metric) for metric in metrics]
    return _cell([(100 * figure.mean, 100 * figure.spread) for figure in figures])


def _published(
    rows: pd.DataFrame, name: str, categories: list[str], metrics: tuple[str, ...]
) -> str:
    if (rows["category"] == name).any():  # a category, or an average as printed
        row = rows[rows["category"] == name].iloc[0]
        figures = [(row[metric], row[f"{metric}_std"]) for metric in metrics]
        if not all(math.isnan(mean) for mean, _ in figures):
            return _cell(figures)
    chosen = rows[rows["category"].isin(categories)]
    return _cell([(chosen[metric].mean(skipna=False), math.nan) for metric in metrics])


def _cell(figures: list[tuple[float, float]]) -> str:
    if all(math.isnan(mean) for mean, _ in figures):
        return _DASH
    return " / ".join(
        _DASH
        if math.isnan(mean)
        else f"{mean:.1f}" + ("" if math.isnan(spread) else f"±{spread:.1f}")
        for mean, spread in figures
    )


def _notes(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Notes below the tables."""
    columns = {column for table in tables.values() for column in table.columns}
    sources = read_sources()
    chosen = sources[sources["method"].isin(columns)].to_dict("records")
    return [
        "± is the sample standard deviation over seeds; (n) is an average over the n categories shown.",
        *(f"{one['method']}: {one['source']}, {one['link']}; {one['note']}." for one in chosen),
    ]


def escape_markdown(text: str) -> str:
    """A text on one line without what Markdown would read as its own."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]|<>" else letter for letter in text)
    return " ".join(escaped.split())


def escape_latex(text: str) -> str:
    """A text on one line without what LaTeX would read as its own."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        _DASH: "--",
    }
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return " ".join("".join(special.get(letter, letter) for letter in text).split())
