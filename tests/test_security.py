"""Nothing that padseg reads can run code, and nothing it writes leaves its folders."""

import ast
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from padseg.errors import ConfigError
from padseg.run.options import RunOptions

ROOT = Path(__file__).parents[1]
UNPICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "shelve"}
# Of `pickle` itself only the class of an error is needed.
HARMLESS = {"pickle": {"PickleError", "UnpicklingError"}}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    *("os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("pd.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("torch.hub.load", "torch.package.PackageImporter", "shutil.unpack_archive"),
}


def findings(source: str) -> list[str]:
    """What in a source file could run code from data or write outside a folder."""
    return [found for node in ast.walk(ast.parse(source)) for found in _judge(node)]


def _judge(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS]
    if isinstance(node, ast.ImportFrom):
        module = (node.module or "").split(".")[0]
        names = {alias.name for alias in node.names}
        bad = module in UNPICKLERS or not names <= HARMLESS.get(module, names)
        return [f"from {module} import {', '.join(names)}"] if bad else []
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        module, _, attribute = name.partition(".")
        bad = attribute not in HARMLESS.get(module, {attribute})
        return [name] if bad or name in FORBIDDEN_CALLS else []
    return _judge_call(node) if isinstance(node, ast.Call) else []


def _judge_call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    last = name.rpartition(".")[-1]
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    wanted = {
        "torch.load": ("weights_only", "True"),
        "load_from_checkpoint": ("weights_only", "True"),
        "extractall": ("filter", "'data'"),
        "extract": ("filter", "'data'"),
    }
    for call, (option, value) in wanted.items():
        if call in (name, last) and given.get(option) != value:
            return [f"{name} without {option}={value}"]
    if name in FORBIDDEN_NAMES or "'allow_pickle', 'True'" in str(list(given.items())):
        return [name]
    return [f"{name} with a shell"] if given.get("shell") == "True" else []


# Zip archives have no filters; each member's name and kind is checked right before.
CHECKED = {"archives.py": ["content.extract without filter='data'"]}
SOURCES = sorted((ROOT / "padseg").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_what_it_reads(path):
    assert findings(path.read_text(encoding="utf-8")) == CHECKED.get(path.name, [])


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "Module.load_from_checkpoint(path)",
        "pickle.load(file)",
        "pickle.loads(text)",
        "from pickle import loads",
        "import joblib",
        "import dill as d",
        "from cloudpickle import load",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "tar.extractall(folder)",
        "tar.extract(member, folder)",
        "shutil.unpack_archive(path, folder)",
    ],
)
def test_the_scan_finds(source):
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "yaml.safe_load(text)",
        "module.eval()",
        "tar.extractall(folder, filter='data')",
        "try:\n    f()\nexcept pickle.UnpicklingError:\n    pass",
        "np.load(path)",
    ],
)
def test_the_scan_allows(source):
    assert not findings(source)


# Advisories by package: releases that a fresh installation must not be able to choose.
KNOWN_BAD = {
    "filelock": ["3.20.0", "3.20.2"],  # CVE-2025-68146, CVE-2026-22701: follows links
    "lightning": ["2.6.2", "2.6.3"],  # malware
    # CVE-2025-48379, CVE-2026-25990, CVE-2026-59199: writes out of bounds
    "pillow": ["11.2.1", "12.1.0", "12.2.0"],
    "ray": ["2.51.0"],  # CVE-2025-62593: code from a web page
    "torch": ["2.5.1"],  # CVE-2025-32434: weights_only runs code
}


def test_dependency_floors_exclude_known_bad_releases():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [line for lines in project["optional-dependencies"].values() for line in lines]
    requirements = [Requirement(line) for line in [*project["dependencies"], *optional]]
    floors = {requirement.name: requirement.specifier for requirement in requirements}
    for name, releases in KNOWN_BAD.items():
        for release in releases:
            assert release not in floors[name], f"{name} {release}"


@pytest.mark.parametrize("name", ["../other", "a/b", "..", ".", "", "/tmp/other", "a\\b"])
def test_runs_stay_in_their_folder(name, tmp_path):
    for names in ({"label": name}, {"categories": (name,)}):
        given = {"system": "stpm", "root": tmp_path, "categories": ("a",), "out": tmp_path}
        with pytest.raises(ConfigError, match="plain name"):
            RunOptions(**(given | names))
