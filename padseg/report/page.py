"""The report page: one HTML file that fetches nothing.

Names of runs, files and folders reach the page as JSON in which no tag can end, and the scripts insert
them as text. The content security policy names the one script and the one style by their hashes, so that
the browser runs and fetches nothing else.
"""

import base64
import hashlib
import html
import json
import string
from dataclasses import asdict
from pathlib import Path

from padseg.errors import DataError
from padseg.machine.files import write_text
from padseg.report.page_data import PageData, page_data
from padseg.report.papers import (
    escape_latex,
    escape_markdown,
    latex,
    markdown,
    paper_tables,
)
from padseg.report.runs import FinishedRun, notes, read_runs, results

_FOLDER = Path(__file__).parent / "web"
# In the order in which they run.
_SCRIPTS = (
    *("scores", "elements", "state", "heat", "canvases", "charts", "histogram"),
    *("results", "verdicts", "gallery", "viewer", "trainings", "page"),
)


def report(out: Path) -> list[Path]:
    """Write `report.html`, `tables.md` and `tables.tex` from the finished runs below a folder.

    The page holds at most 24 MiB of pictures, however many images there are, and about 60 bytes per image
    and run for the scores.

    Returns:
        The paths of the three files.

    Raises:
        PadsegError: There is no finished run, or a `metrics.json` is broken; in that case, the files are
            written without its run.
    """
    runs, broken = read_runs(out)
    if not runs:
        raise broken[0]
    table = results(runs)
    counts = {run.category: len(run.images) for run in runs if len(run.images)}
    papers = paper_tables(table, counts)
    below = notes(runs)
    files = {
        "report.html": make_page(out.resolve().name, runs),
        "tables.md": "\n- ".join([markdown(papers), *map(escape_markdown, below)]) + "\n",
        "tables.tex": latex(papers) + "".join(f"% {escape_latex(note)}\n" for note in below),
    }
    for name, text in files.items():
        write_text(out / name, text)
    if broken:
        raise DataError(
            "\n  ".join(f"{error} The report is written without this run." for error in broken)
        )
    return [out / name for name in files]


def make_page(title: str, runs: list[FinishedRun]) -> str:
    """The page as text."""
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = "\n".join((_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
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


def _json(content: PageData) -> str:
    """JSON in which no HTML tag, comment or character reference can begin."""
    text = json.dumps(asdict(content), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
