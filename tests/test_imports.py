"""Imports between the rooms point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import padseg

ROOT = Path(padseg.__file__).parent
# From the ground up. A room imports from the floors below its own, never from its own floor or from above.
FLOORS = (
    {"errors", "names"},
    {"machine", "options", "plugins"},
    {"metrics"},
    {"drawing", "losses", "synthesis"},
    {"data", "models", "records"},
    {"modules"},
    {"callbacks"},
    {"inference"},
    {"lightning_cli"},
    {"run"},
    {"app", "demo", "export", "report", "training"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
WITHOUT_LIGHTNING = ("drawing", "losses", "metrics", "models", "records", "report", "synthesis")


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


def test_every_room_has_its_floor():
    rooms = {path.stem for path in ROOT.glob("*.py")} | {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }
    assert rooms - {"__init__"} == set().union(*FLOORS)


def test_rooms_import_from_the_floors_below():
    below: set[str] = set()
    for floor in FLOORS:
        for room in floor:
            for path in files(room):
                ours = {name.split(".")[1] for name in imported(path) if name.startswith("padseg.")}
                assert ours <= below | {room}, path
        below |= floor


@pytest.mark.slow
def test_the_package_imports_its_names_when_they_are_used():
    script = """
import sys
import padseg
assert not {"torch", "lightning", "numpy"} & sys.modules.keys(), "at import"
assert set(padseg.__all__) <= set(dir(padseg))
from padseg import Predictor
assert not {"albumentations", "noise", "pandas"} & sys.modules.keys(), "for a prediction"
for name in padseg.__all__:
    assert getattr(padseg, name).__name__ == name
from padseg import train
for register in ("models", "data.layouts", "synthesis", "metrics"):
    assert callable(eval(f"padseg.{register}.register")), "as padseg.plugins names it"
try:
    padseg.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_networks_synthesis_and_metrics_know_no_lightning():
    for room in WITHOUT_LIGHTNING:
        for path in files(room):
            assert not {name for name in imported(path) if name.split(".")[0] == "lightning"}, path
