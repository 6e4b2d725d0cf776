"""The paths, links, commands and imports in the documents exist."""

import ast
import importlib
import itertools
import re
import shlex
from pathlib import Path

import pytest

from padseg.cli import LIGHTNING_COMMANDS, parser
from padseg.commands.arguments import parse
from test_imports import FLOORS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = (
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted((ROOT / "configs").rglob("*.md")),
    *sorted((ROOT / "tests").rglob("*.md")),
)
COMMANDS = sorted(
    {
        line.strip()
        for document in DOCUMENTS
        for block in re.findall(r"```\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip().startswith("padseg ") and "..." not in line
    }
)
PYTHON = [
    block
    for document in (README, ROOT / ".github/GUIDE.md")
    for block in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
]


def anchors(document: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 250


def test_the_arrows_are_those_of_the_imports():
    text = README.read_text(encoding="utf-8").split("Imports point one way: ")[1].split(".\n")[0]
    levels = [re.findall(r"\w+", level) for level in text.split("→")]
    heights = [{FLOORS.index(f) for f in FLOORS for r in level if r in f} for level in levels]
    assert all(len(height) == 1 for height in heights)
    assert heights == sorted(heights, key=max, reverse=True)


def test_every_path_of_the_map_exists():
    section = README.read_text(encoding="utf-8").split("## How it is built")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    paths = [path for row in rows for path in re.findall(r"`([^`]+)`", row)]
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []
    inside = {path.split("/")[1] for path in paths if path.startswith("padseg/")}
    rooms = {path.parent.name for path in (ROOT / "padseg").glob("*/__init__.py")}
    assert rooms - inside == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http:", "https:")):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    _, *words = shlex.split(command, comments=True)
    if words[0] in LIGHTNING_COMMANDS:
        named = [after for word, after in itertools.pairwise(words) if word == "--config"]
        assert all((ROOT / name).is_file() for name in named)
        assert named or "--ckpt_path" in words
    else:
        parse(parser(), words)


@pytest.mark.parametrize("block", PYTHON)
def test_what_the_examples_import_exists(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
