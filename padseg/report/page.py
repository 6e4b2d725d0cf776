"""The report page: one HTML file that fetches nothing.

Everything that a run, a file or a folder is called reaches the page as JSON in which no tag can end, and
the scripts put it there as text. The content security policy names the one script and the one style
by their hashes, so that the browser would run or fetch nothing else.
"""

import base64
import hashlib
import html
import json
import math
import string
from pathlib import Path
from typing import Any

import pandas as pd

from padseg import __version__
from padseg.machine.files import write_text
from padseg.report.papers import (
    Figure,
    comparable,
    latex,
    markdown,
    paper_tables,
    read_published,
    read_sources,
    summarise,
)
from padseg.report.pictures import Pictures
from padseg.report.runs import Run, read_runs, results
from padseg.report.tables import METRICS

_FOLDER = Path(__file__).parent
_SCRIPTS = ("scores.js", "charts.js", "gallery.js", "page.js")
_NAMES = {
    "image_auroc": "Image AUROC",
    "image_ap": "Image AP",
    "image_f1max": "Image F1max",
    "pixel_auroc": "Pixel AUROC",
    "pixel_ap": "Pixel AP",
    "pixel_f1max": "Pixel F1max",
    "pro": "PRO",
    "iap": "IAP",
    "iap90": "IAP@90",
}


def report(out: Path) -> list[Path]:
    """Write `report.html`, `tables.md` and `tables.tex` from the finished runs below a folder.

    The page holds at most 24 MiB of pictures, whatever the number of images, and about 60 bytes an
    image and run for the scores.

    Returns:
        The paths of the three files.

    Raises:
        PadsegError: There is no finished run, or a `metrics.json` is broken.
    """
    runs = read_runs(out)
    table = results(runs)
    counts = {run.category: len(run.images) for run in runs if len(run.images)}
    papers = paper_tables(table, counts)
    files = {
        "report.html": make_page(out.resolve().name, runs),
        "tables.md": markdown(papers),
        "tables.tex": latex(papers),
    }
    for name, text in files.items():
        write_text(out / name, text)
    return [out / name for name in files]


def make_page(title: str, runs: list[Run]) -> str:
    """The page as text."""
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    page = string.Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    return page.substitute(
        title=html.escape(title),
        policy=policy,
        style=style,
        script=script,
        data=_json(page_data(title, runs)),
    )


def page_data(title: str, runs: list[Run]) -> dict[str, Any]:
    """What the scripts of the page work with, in plain values."""
    pictures = Pictures(runs)
    table = results(runs)
    counts = {run.category: len(run.images) for run in runs if len(run.images)}
    return {
        "title": title,
        "version": __version__,
        "metrics": [[name, _NAMES[name]] for name in METRICS],
        "summary": _summary(table),
        "published": _published(table, counts),
        "images": _images(runs, pictures),
        "runs": [_run(number, run, pictures) for number, run in enumerate(runs)],
        "left_out": pictures.left_out,
        "missing": [
            [run.folder.relative_to(run.folder.parents[2]).as_posix(), reason]
            for run in runs
            for reason in run.missing
        ],
    }


def _summary(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a label for all categories together, when it has several, and for each category."""
    categories = list(dict.fromkeys(table["category"]))
    rows = []
    for category in ([None] if len(categories) > 1 else []) + categories:
        for label in sorted(table["label"].unique()):
            chosen = table[table["label"] == label]
            if category is not None:
                chosen = chosen[chosen["category"] == category]
            if chosen.empty:
                continue
            rows.append(
                {
                    "category": category,
                    "label": label,
                    "system": ", ".join(chosen["system"].unique()),
                    "categories": int(chosen["category"].nunique()),
                    "seeds": sorted(int(seed) for seed in chosen["seed"].unique()),
                    "values": {name: _figure(summarise(chosen, name)) for name in METRICS},
                    "minutes": _number(chosen["train_minutes"].mean()),
                    "each": []
                    if category is None
                    else [
                        {
                            "seed": int(row["seed"]),
                            "values": {name: _number(row[name]) for name in METRICS},
                            "minutes": _number(row["train_minutes"]),
                        }
                        for row in chosen.to_dict("records")
                    ],
                }
            )
    return rows


def _published(table: pd.DataFrame, counts: dict[str, int]) -> list[dict[str, Any]]:
    """The published rows of the systems that ran, as shares of one."""
    published = read_published()
    sources = read_sources().set_index("method")
    rows = []
    for row in published.to_dict("records"):
        source = sources.loc[row["method"]]
        if row["category"] not in comparable(table, counts):
            continue
        if source["system"] not in set(table["system"]):
            continue
        figures = {
            name: Figure(row[name] / 100, row[f"{name}_std"] / 100, 1)
            for name in METRICS
            if name in row
        }
        rows.append(
            {
                "category": row["category"],
                "method": row["method"],
                "source": source["source"],
                "link": source["link"],
                "note": source["note"],
                "values": {name: _figure(figure) for name, figure in figures.items()},
            }
        )
    return rows


def _images(runs: list[Run], pictures: Pictures) -> dict[str, list[dict[str, Any]]]:
    """The images of each category, whichever run knows them."""
    images: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs:
        known = images.setdefault(run.category, {})
        for row in run.images.to_dict("records"):
            image, mask = pictures.images.get((run.category, row["path"]), (None, None))
            known.setdefault(
                row["path"],
                {
                    "path": row["path"],
                    "defect": row["defect"],
                    "label": int(row["label"]),
                    "image": image,
                    "mask": mask,
                },
            )
    return {category: list(known.values()) for category, known in images.items()}


def _run(number: int, run: Run, pictures: Pictures) -> dict[str, Any]:
    records = run.images.to_dict("records")
    return {
        "label": run.label,
        "system": run.row["system"],
        "category": run.category,
        "seed": run.seed,
        "threshold": run.threshold,
        "scores": {row["path"]: float(row["image_score"]) for row in records},
        "maps": {
            row["path"]: pictures.maps[number, int(row["index"])]
            for row in records
            if (number, int(row["index"])) in pictures.maps
        },
        "range": list(pictures.ranges[number]),
        "curves": run.curves,
    }


def _figure(figure: Figure) -> list[float | None]:
    return [_number(figure.mean), _number(figure.spread)]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _json(content: dict[str, Any]) -> str:
    """JSON in which no HTML tag, comment or character reference can begin."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
