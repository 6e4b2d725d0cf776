"""The notebooks are stored with small outputs, and run from top to bottom on the demo set."""

import json
import re

import nbformat
import pytest

from stored_notebooks import NOTEBOOKS, executed, slim

MOST_BYTES = 400_000
PICTURES = {"image/png", "image/jpeg"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all, so that the demo set is painted once."""
    return tmp_path_factory.mktemp("notebooks")


def outputs(book):
    return [output for cell in book.cells for output in cell.get("outputs", [])]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_with_small_outputs(path):
    assert path.stat().st_size < MOST_BYTES
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(cell.source.lstrip().startswith(("!", "%")) for cell in code), "modules only"
    assert {output.output_type for output in outputs(book)} <= {
        *("stream", "display_data", "execute_result")
    }
    assert sum(bool(PICTURES & set(output.get("data", {}))) for output in outputs(book)) >= 2
    before = json.dumps(book)
    slim(book)
    assert json.dumps(book) == before, "store it with python tests/stored_notebooks.py"
    # Only what the package paints itself, and no folder of whoever has run it.
    source = "\n".join(cell.source for cell in code)
    assert "padseg.demo" in source
    assert "mvtec" not in source.lower()
    texts = [
        str(output.get("text", output.get("data", {}).get("text/plain")))
        for output in outputs(book)
    ]
    assert not re.search(r"/(home|root|tmp|Users)/|Warning", "\n".join(texts))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, folder):
    book = executed(path, folder)
    if path.stem.startswith("04"):
        check_verdicts("".join(output.get("text", "") for output in outputs(book)))


def check_verdicts(printed):
    """Nearly all defects are found, with few false alarms."""
    lines = re.findall(r"^(\w+) +(\d+) of +(\d+) anomalous$", printed, re.MULTILINE)
    found = {kind: (int(number), int(total)) for kind, number, total in lines}
    alarms, good = found.pop("good")
    assert good == 10
    assert alarms <= 4
    assert sum(total for _, total in found.values()) == 16
    assert sum(number for number, _ in found.values()) >= 14
