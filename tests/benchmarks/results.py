"""Run systems x categories x seeds from a list, and write the tables of results.

    python tests/benchmarks/results.py --root mvtec_ad --textures dtd/images --weights weights --out runs --machine "AMD EPYC"
    python tests/benchmarks/results.py --out runs --machine "AMD EPYC" --gather
    python tests/benchmarks/results.py

The list is `results.yaml` beside this file. The first call trains what is missing in `runs` (it resumes what
was interrupted and skips what is finished), puts every finished run of the list into `results.csv`, and
writes the tables of the documents, which lie between `<!-- results: NAME -->` and `<!-- end of results -->`.
The second call trains nothing, and the third only writes the tables from `results.csv`. The root holds all
categories in MVTec AD's layout, `weights` the files that the list names.
"""

import argparse
import datetime
import math
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from padseg.machine.files import write_text
from padseg.metrics.names import METRICS
from padseg.models import NetworkOptions, find_system
from padseg.plugins import load_plugin
from padseg.report.papers import read_published, summarise
from padseg.run.files import METRICS_FILE
from padseg.run.results import COLUMNS, RunResult, read_phase_result

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("results.yaml")
TABLE = Path(__file__).with_name("results.csv")
HIDDEN = ("image_ap", "image_f1max", "pixel_f1max")  # in results.csv, not in the tables
SHOWN = [metric for metric in METRICS if metric.key not in HIDDEN]
FIRST_PHASE = tuple(f"distill_{metric.key}" for metric in SHOWN)
MADE = ("steps", "batch_size", "image_size", "precision", "teacher", "machine", "version", "date")
EXTRA = (*FIRST_PHASE, *MADE)
KEYS = ["label", "category", "seed"]
BUDGET = ("tedseg-3min", "stpm-3min", "rstpm-3min", "destseg-3min", "pfadseg-3min")
TENFOLD = ("tedseg", "stpm-30min", "rstpm-30min", "destseg-30min", "pfadseg-30min")
TEACHERS = ("tedseg-short", "tedseg-resnet18", "tedseg-dinov2", "tedseg-two-short")
LENGTHS = ("tedseg-3min", "tedseg")
LENGTHS_ALL_SHAPES = (
    "tedseg-short",
    "tedseg-all-shapes",
    "tedseg-long",
    "tedseg-2000",
    "tedseg-384",
)
PRECISION = ("destseg-bf16-mixed", "destseg-32-true")
SYNTHESIS = {  # masks and fills by label
    "tedseg-places": "Perlin, all fills",
    "tedseg-all-shapes": "all shapes, all fills",
    "tedseg-perlin": "Perlin, textures",
}
# What each variant of `ablation.py` lacks, by label.
ABLATION = {
    "tedseg-3min": "nothing",
    "tedseg-one-net": "the second U-net",
    "tedseg-no-products": "the products",
    "tedseg-own": "leaving an image's own features out",
    "tedseg-coarse": "the source at strides 4 and 8",
    "tedseg-not-enlarged": "enlarging the image for strides 8 and 16",
    "tedseg-not-averaged": "averaging features over 3x3 places",
}
ABLATION_FULL = {
    "tedseg": "nothing",
    **{f"{label}-400": ABLATION[label] for label in ("tedseg-one-net", "tedseg-own")},
}
TWO = {"tedseg": "EfficientNet-Lite0", "tedseg-two": "and DINOv2"}
PLACES = {"tedseg-places": "yes", "tedseg": "no: the default"}
PUBLISHED = ("DeSTSeg", "PFADSeg")
Variant = dict[str, Any]


@cache
def read_list() -> dict[str, Variant]:
    """The variants by label."""
    content: dict[str, Variant] = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return content


def command(label: str, variant: Variant, options: argparse.Namespace) -> list[str]:
    """The `padseg run` of a variant."""
    given = {"textures": options.textures, "weights": options.weights}
    return [
        *(sys.executable, "-m", "padseg", "run", variant["system"], "--root", options.root),
        *("--category", *variant["categories"], "--seed", *map(str, variant["seeds"])),
        *("--label", label, "--out", str(options.out)),
        *(part.format(**given) for part in shlex.split(variant["options"])),
    ]


def gather(out: Path, machine: str) -> None:
    """Put the finished runs of the list into `results.csv`, in place of their earlier rows.

    Rows of labels that are no longer in the list go.
    """
    load_plugin("tests.benchmarks.ablation")
    paths = [
        out / label / category / f"seed{seed}" / METRICS_FILE
        for label, variant in read_list().items()
        for category in variant["categories"]
        for seed in variant["seeds"]
    ]
    rows = [row(path, machine) for path in paths if path.exists()]
    known = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    table = pd.DataFrame([*known, *rows], columns=[*COLUMNS, *EXTRA])
    table = table[table["label"].isin(read_list())]
    table = table.drop_duplicates(KEYS, keep="last").sort_values(KEYS)
    write_text(TABLE, table.to_csv(index=False, float_format="%.6g"))


def row(path: Path, machine: str) -> dict[str, Any]:
    """The row of `results.csv` of a run, and how it was made."""
    result = RunResult.read(path)
    made, evaluation = result.fingerprint, result.evaluation
    first = result.distill
    if made is None or first is None or evaluation is None:
        raise SystemExit(f"{path} does not say how it was made: train it again.")
    phases = list(made.precision)
    steps = [read_phase_result(path.with_name(f"{phase}.json")).steps for phase in phases]
    first_made, made_last = (_settings(path.parent, phase) for phase in (phases[0], phases[-1]))
    model = first_made["model"]["init_args"]
    network = NetworkOptions(result.system, model["teacher"], model["teacher2"])
    names = network.teacher_names(find_system(result.system).teachers)
    day = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).date()
    figures = {name: first.metrics[name.removeprefix("distill_")] for name in FIRST_PHASE}
    return (
        result.row()
        | figures
        | {
            "steps": " + ".join(map(str, steps)),
            "batch_size": made_last["data"]["batch_size"],
            "image_size": model["image_size"],
            "precision": " / ".join(dict.fromkeys(map(str, made.precision.values()))),
            "teacher": " + ".join(names),
            "machine": machine,
            "version": made.versions["padseg"],
            "date": day.isoformat(),
        }
    )


def _settings(run: Path, phase: str) -> dict[str, Any]:
    """The options of a phase."""
    path = run / "logs" / phase / "config.yaml"
    settings: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return settings


def budget(table: pd.DataFrame, labels: Sequence[str], papers: Sequence[str] = PUBLISHED) -> str:
    """The systems at the same processor time, first seed, how they were made, and what papers report."""
    chosen = _of_several(table[table["seed"] == 0], labels)
    lines = [_head("", "system", "steps x batch", "minutes")]
    published = read_published()
    for category in _in_order(chosen["category"].unique()):
        for number, (_, rows) in enumerate(_by_label(chosen[chosen["category"] == category])):
            name = "" if number else _words(category)
            made = f"{rows['steps'].iloc[0]} x {rows['batch_size'].iloc[0]}"
            minutes = f"{rows['train_minutes'].mean():.1f}"
            lines.append([name, _title(rows), made, minutes, *_means(rows)])
        for one in published[published["category"] == category].to_dict("records"):
            if one["method"] in papers:
                figures = [_figure(one.get(metric.key, math.nan)) for metric in SHOWN]
                lines.append(["", f"*{one['method']} as published*", "full length", "", *figures])
    return f"{_markdown(lines)}\n\n{_made(chosen)}"


def teachers(table: pd.DataFrame) -> str:
    """TEDSeg with each teacher, first seed."""
    first = table[table["seed"] == 0]
    return _compared(first, TEACHERS, "teacher", lambda one: f"`{one['teacher']}`")


def lengths(table: pd.DataFrame, labels: Sequence[str] = LENGTHS) -> str:
    """TEDSeg trained for less and for longer, and with larger images, mean of the seeds."""
    return _compared(
        table, labels, "steps at size", lambda one: f"{one['steps']} at {one['image_size']}"
    )


def _compared(
    table: pd.DataFrame, labels: Sequence[str], title: str, name: Callable[[pd.Series], str]
) -> str:
    """Variants on each category that several of them have."""
    chosen = _of_several(table, labels)
    several = chosen["seed"].nunique() > 1
    lines = [_head("", title, *["seeds"] * several, "minutes")]
    for category in _in_order(chosen["category"].unique()):
        for number, (_, rows) in enumerate(_by_label(chosen[chosen["category"] == category])):
            first = "" if number else _words(category)
            count = [str(len(rows))] * several
            minutes = f"{rows['train_minutes'].mean():.1f}"
            lines.append([first, name(rows.iloc[0]), *count, minutes, *_means(rows)])
    return f"{_markdown(lines)}\n\n{_made(chosen)}"


def seeds(table: pd.DataFrame, label: str = "tedseg") -> str:
    """Every run of a variant of TEDSeg, and the mean."""
    rows = table[table["label"] == label]
    lines = [_head("", "seed", "minutes")]
    for category in _in_order(rows["category"].unique()):
        for number, one in enumerate(rows[rows["category"] == category].to_dict("records")):
            figures = [_figure(100 * one[metric.key]) for metric in SHOWN]
            name = "" if number else _words(category)
            lines.append([name, str(one["seed"]), f"{one['train_minutes']:.1f}", *figures])
    mvtec = rows[rows["category"].isin(read_published()["category"])]
    means = {"mean of MVTec AD's": mvtec}
    if len(mvtec) < len(rows):
        means["mean of all"] = rows
    for name, chosen in means.items():
        minutes = f"{chosen['train_minutes'].mean():.1f}"
        lines.append([name, "all", minutes, *_means(chosen)])
    return f"{_markdown(lines)}\n\n{_made(rows)}"


def variants(table: pd.DataFrame, title: str, names: Mapping[str, str]) -> str:
    """Variants of TEDSeg, by label, mean of the seeds."""
    return _compared(table, tuple(names), title, lambda one: names[one["label"]])


def distances(table: pd.DataFrame) -> str:
    """What TEDSeg finds after phase one, with the first seed."""
    rows = table[(table["label"] == "tedseg") & (table["seed"] == 0)].set_index("category")
    lines = [_head("")]
    for category in _in_order(rows.index):
        figures = [_figure(100 * rows.loc[category, name]) for name in FIRST_PHASE]
        lines.append([_words(category), *figures])
    return _markdown(lines)


def precision(table: pd.DataFrame) -> str:
    """DeSTSeg in bfloat16 and in float32."""
    chosen = table[table["label"].isin(PRECISION)]
    lines = [_head("precision", "seed")]
    for _, rows in _by_label(chosen):
        for one in rows.to_dict("records"):
            figures = [_figure(100 * one[metric.key]) for metric in SHOWN]
            lines.append([one["precision"], str(one["seed"]), *figures])
    return f"{_markdown(lines)}\n\n{_made(chosen)}"


def sentence(table: pd.DataFrame) -> str:
    """TEDSeg beside the published figures, on the categories of MVTec AD, and with a second teacher."""
    published = read_published()
    rows = table[(table["label"] == "tedseg") & table["category"].isin(published["category"])]
    names = _in_order(rows["category"].unique())
    theirs = []
    for method in PUBLISHED:
        own = published[(published["method"] == method) & published["category"].isin(names)]
        theirs.append(f"{own['pixel_ap'].mean():.1f} and {own['iap'].mean():.1f} ({method})")
    ap, iap = (100 * summarise(rows, key).mean for key in ("pixel_ap", "iap"))
    tiles = table[table["category"] == "magnetic_tile"]
    one, two = (
        f"{100 * tiles[tiles['label'] == label]['pixel_ap'].mean():.0f}"
        for label in ("tedseg", "tedseg-two")
    )
    words = (
        f"Means over {', '.join(names[:-1])} and {names[-1]} of MVTec AD in percent: after "
        f"{_span(rows['train_minutes'])} minutes of training on one core, TEDSeg has a pixel AP of {ap:.1f} and an "
        f"instance AP of {iap:.1f} ({_span(rows.groupby('category')['seed'].nunique())} seeds). After a full training "
        f"on a GPU, the papers report {' and '.join(theirs)}. On magnetic tile, where good parts differ much, "
        f"[a second teacher](configs/tedseg/README.md#two-teachers) raises its pixel AP from {one} to {two}."
    )
    return textwrap.fill(words, 112, break_on_hyphens=False)


TABLES: dict[str, dict[str, Callable[[pd.DataFrame], str]]] = {
    "README.md": {"sentence": sentence},
    "configs/README.md": {
        "budget": partial(budget, labels=BUDGET),
        "tenfold": partial(budget, labels=TENFOLD, papers=("STPM", *PUBLISHED)),
        "teachers": teachers,
    },
    "configs/destseg/README.md": {"precision": precision},
    "configs/tedseg/README.md": {
        "seeds": seeds,
        "distances": distances,
        "two": partial(variants, title="teachers", names=TWO),
        "ablation": partial(variants, title="without", names=ABLATION),
        "ablation at full length": partial(variants, title="without", names=ABLATION_FULL),
        "lengths": lengths,
    },
    "configs/tedseg/NOTES.md": {
        "two earlier": partial(seeds, label="tedseg-two-short"),
        "places": partial(variants, title="knows places", names=PLACES),
        "lengths with all shapes": partial(lengths, labels=LENGTHS_ALL_SHAPES),
        "synthesis": partial(variants, title="defects", names=SYNTHESIS),
    },
}


def filled(document: str, table: pd.DataFrame) -> str:
    """The text of a document with its tables written anew.

    Raises:
        ValueError: The document lacks the place of a table.
    """
    text = (ROOT / document).read_text(encoding="utf-8")
    for name, write in TABLES[document].items():
        start, end = f"<!-- results: {name} -->\n", "\n<!-- end of results -->"
        if text.count(start) != 1:
            raise ValueError(f"{document} has no single {start.strip()}")
        before, rest = text.split(start)
        _, after = rest.split(end, maxsplit=1)
        text = f"{before}{start}{write(table)}{end}{after}"
    return text


def _by_label(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each label that is there, in the order of the list."""
    present = set(table["label"])
    return [(label, table[table["label"] == label]) for label in read_list() if label in present]


def _of_several(table: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """The rows of these labels in the categories that more than one of them has."""
    chosen = table[table["label"].isin(labels)]
    return chosen[chosen.groupby("category")["label"].transform("nunique") > 1]


def _in_order(categories: Iterable[str]) -> list[str]:
    order: list[str] = read_list()["tedseg"]["categories"]
    return sorted(categories, key=order.index)


def _head(*first: str) -> list[str]:
    return [
        *first,
        *(
            metric.title[0].lower() + metric.title[1:] if " " in metric.title else metric.title
            for metric in SHOWN
        ),
    ]


def _title(rows: pd.DataFrame) -> str:
    return find_system(str(rows["system"].iloc[0])).title


def _means(rows: pd.DataFrame) -> list[str]:
    """Mean over the categories and the seeds, with the spread over seeds."""
    cells = []
    for metric in SHOWN:
        figure = summarise(rows, metric.key)
        spread = "" if math.isnan(figure.spread) else f" ± {100 * figure.spread:.1f}"
        cells.append(_figure(100 * figure.mean) + spread)
    return cells


def _figure(percent: float) -> str:
    return "" if math.isnan(percent) else f"{percent:.1f}"


def _made(rows: pd.DataFrame) -> str:
    """How all of them were made, as a sentence."""
    sizes = " and ".join(f"{size}x{size}" for size in sorted(rows["image_size"].unique()))
    days = sorted(rows["date"].unique())
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    words = [" and ".join(sorted(map(str, rows[name].unique()))) for name in ("machine", "version")]
    kinds = " and ".join(sorted(rows["precision"].unique()))
    return f"{sizes}, {kinds}, {words[0]}, padseg {words[1]}, {when}."


def _span(numbers: pd.Series) -> str:
    """From the least to the largest, in whole numbers."""
    least, most = (f"{number:.0f}" for number in (numbers.min(), numbers.max()))
    return least if least == most else f"{least} to {most}"


def _words(category: str) -> str:
    return category.replace("_", " ")


def _markdown(lines: list[list[str]]) -> str:
    head, *body = lines
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def main() -> None:
    trainable = {label: one for label, one in read_list().items() if "options" in one}
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", help="folder of the categories")
    parser.add_argument("--textures", help="folder of textures")
    parser.add_argument("--weights", help="folder of weight files")
    parser.add_argument("--out", type=Path, help="folder for the runs")
    parser.add_argument("--machine", help="processor and cores, for the tables")
    parser.add_argument("--only", nargs="+", choices=list(trainable), help="labels to train")
    parser.add_argument("--gather", action="store_true", help="train nothing")
    options = parser.parse_args()
    status = 0
    if options.out and not options.machine:
        parser.error("--out also needs --machine")
    if options.out and not options.gather:
        if not (options.root and options.textures and options.weights):
            parser.error("to train, pass --root, --textures and --weights")
        for label, variant in trainable.items():
            if label in (options.only or trainable):
                done = subprocess.run(command(label, variant, options), check=False)
                status = max(status, done.returncode)
    if options.out:
        gather(options.out, options.machine)
    table = pd.read_csv(TABLE)
    for document in TABLES:
        write_text(ROOT / document, filled(document, table))
    raise SystemExit(status)


if __name__ == "__main__":
    main()
