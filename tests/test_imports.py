"""Arrows between the rooms point one way."""

import ast
from pathlib import Path

import padseg

ROOT = Path(padseg.__file__).parent
# What each room may import of padseg; what is not named may import all of it.
PLAIN = {"errors", "options", "threads", "files", "precision"}
ROOMS = {
    "synthesis": PLAIN,
    "metrics": PLAIN,
    "models": PLAIN | {"losses"},
    "losses": PLAIN | {"models"},
    "data": PLAIN | {"synthesis"},
    "modules": PLAIN | {"data", "models", "losses"},
    "callbacks": PLAIN | {"data", "models", "modules", "metrics", "records", "drawing"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py")) or [ROOT / f"{room}.py"]


def test_rooms_import_what_lies_below_them():
    for room, allowed in ROOMS.items():
        for path in files(room):
            ours = {name.split(".")[1] for name in imported(path) if name.startswith("padseg.")}
            assert ours <= allowed | {room}, path


def test_networks_synthesis_and_metrics_know_no_lightning():
    for room in ("models", "losses", "synthesis", "metrics"):
        for path in files(room):
            assert not {name for name in imported(path) if name.split(".")[0] == "lightning"}, path
