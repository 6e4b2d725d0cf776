"""Command lines of small runs, and a folder with two finished ones."""

from pathlib import Path

import pytest

from padseg.cli import main
from padseg.models import SYSTEMS
from tiny import tiny_arguments


def run_args(
    root: Path, textures: Path | str, out: Path, *more: str, system: str = "destseg"
) -> list[str]:
    """`padseg run` of a small network on the category `widget`, labelled `small`."""
    small = tiny_arguments(phases=2 if SYSTEMS[system].segmentation else 1, system=system)
    return [
        *("run", system, "--root", str(root), "--category", "widget", "--out", str(out)),
        *("--textures", str(textures), "--steps", "2", "2", "--batch-size", "4"),
        *("--weights", "random", "--label", "small", *small),
        *("--trainer.enable_progress_bar", "false", "--data.num_workers=0", *more),
    ]


@pytest.fixture(scope="session")
def finished(data_root, textures, tmp_path_factory) -> Path:
    """Seeds 0 and 1; tests leave it as it is."""
    out = tmp_path_factory.mktemp("run")
    assert main(run_args(data_root, textures, out, "--seed", "0", "1")) == 0
    return out
