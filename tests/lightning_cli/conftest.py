"""Command lines of small trainings, and a folder in which both phases are trained."""

from pathlib import Path

import pytest

from padseg.cli import main
from padseg.lightning_cli.recipes import config_path
from tiny import tiny_arguments

SMALL = [*tiny_arguments(), "--model.weights=random", "--model.lr=0.05"]
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


def data_args(data_root, textures) -> list[str]:
    return [
        f"--data.root={data_root}",
        "--data.category=widget",
        f"--data.textures={textures}",
        "--data.batch_size=4",
        "--data.num_workers=0",
    ]


def fit_args(data_root, textures, *more: str) -> list[str]:
    """`fit` of a small student of DeSTSeg."""
    recipe = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL, *QUIET]
    return [*recipe, *data_args(data_root, textures), *more]


@pytest.fixture(autouse=True)
def _work_in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    """Lightning writes its logs to the working folder unless a test names another."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def trained(data_root, textures, tmp_path_factory) -> Path:
    """Both phases through `fit`, as the guide describes."""
    folder = tmp_path_factory.mktemp("fit")
    common = [*data_args(data_root, textures), *QUIET, f"--trainer.default_root_dir={folder}"]
    for phase, more in (
        ("distill", SMALL),
        (
            "segment",
            [f"--model.distilled={folder}/distill/last.ckpt", "--model.segmentation_width=16"],
        ),
    ):
        arguments = ["fit", "--config", str(config_path("destseg", phase)), *common, *more]
        arguments += ["--trainer.max_steps=2", f"--checkpoint.dirpath={folder}/{phase}"]
        assert main(arguments) == 0
    return folder
