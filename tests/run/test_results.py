"""The records that runs leave, as files."""

import json
import math
from dataclasses import asdict, replace
from hashlib import sha256

import pandas as pd
import pytest

from padseg.errors import DataError
from padseg.lightning_cli.recipes import config_path
from padseg.metrics.calibration import Calibration
from padseg.metrics.evaluation import Evaluation, MaskCounts
from padseg.metrics.names import METRIC_KEYS
from padseg.run.results import (
    COLUMNS,
    Fingerprint,
    PhaseResult,
    RunResult,
    read_phase_result,
)
from padseg.run.table import write_table

CALIBRATION = Calibration(
    0.45, 0.5, 0.01, 0.001, 0.01, normal_images=99, image_quantiles=((0, 0.1),)
)
DISTILL = PhaseResult(
    metrics=dict.fromkeys(METRIC_KEYS, 0.25) | {"iap90": None},
    train_minutes=1.5,
    peak_memory_mb=None,
    images_per_second=9.0,
    calibration=CALIBRATION,
    teacher_sha256="ab",
    precision="32-true",
    device="x86_64",
    steps=7,
    resumed_from_step=2,
    evaluation=Evaluation((64, 32), MaskCounts(6, 5, 7, 6), ("widget: 5 of 6 masks are empty.",)),
)
RUN = RunResult(
    label="mine",
    system="stpm",
    category="widget",
    seed=3,
    metrics={**DISTILL.metrics, "aupimo": 0.5, "pro5": None},
    train_minutes=1.5,
    peak_memory_mb=None,
    images_per_second=9.0,
    calibration=CALIBRATION,
    distill=DISTILL,
    fingerprint=Fingerprint(
        options={"steps": [7], "overrides": {}},
        versions={"torch": "2"},
        data_sha256="cd",
        teacher_sha256="ab",
        precision={"distill": "32-true"},
        device={"distill": "x86_64"},
        resumed_from_step=2,
    ),
    evaluation=DISTILL.evaluation,
)


def test_a_result_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "metrics.json"
    RUN.write(path)
    assert RunResult.read(path) == RUN


def test_the_file_names_what_it_always_named(tmp_path):
    """Reports, notebooks and the users' own scripts look these names up."""
    path = tmp_path / "metrics.json"
    RUN.write(path)
    content = json.loads(path.read_text())
    assert list(content) == [
        *("label", "system", "category", "seed", "image_auroc", "image_ap", "image_f1max"),
        *("pixel_auroc", "pixel_ap", "pixel_f1max", "pro", "iap", "iap90"),
        *("train_minutes", "peak_memory_mb", "images_per_second"),
        *("calibration", "distill", "fingerprint", "evaluation", "further_metrics"),
    ]
    assert content["pro"] == 0.25
    assert content["iap90"] is None
    assert content["further_metrics"] == {"aupimo": 0.5, "pro5": None}
    assert content["calibration"]["image_quantiles"] == [[0, 0.1]]
    assert list(content["distill"]) == [
        *("metrics", "train_minutes", "peak_memory_mb", "images_per_second", "calibration"),
        *("teacher_sha256", "precision", "device", "steps", "resumed_from_step", "evaluation"),
    ]
    assert list(content["fingerprint"]) == [
        *("options", "versions", "data_sha256", "teacher_sha256", "precision", "device"),
        "resumed_from_step",
    ]


def test_files_of_early_versions_are_read(tmp_path):
    path = tmp_path / "metrics.json"
    RUN.write(path)
    content = json.loads(path.read_text())
    for name in ("precision", "device"):
        del content["distill"][name], content["fingerprint"][name]
    path.write_text(json.dumps(content))
    found = RunResult.read(path)
    assert found.distill == replace(DISTILL, precision=None, device=None)
    assert found.fingerprint == replace(RUN.fingerprint, precision={}, device={})
    (tmp_path / "distill.json").write_text(json.dumps(content["distill"]))
    assert read_phase_result(tmp_path / "distill.json") == found.distill


@pytest.mark.parametrize("content", ["", "[]", '{"metrics": {}}', '{"loss": 1}', "3"])
def test_a_broken_phase_is_named(content, tmp_path):
    path = tmp_path / "distill.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"distill\.json is broken: delete it"):
        read_phase_result(path)


def test_the_table_has_the_columns_of_the_contract(tmp_path):
    for seed in (10, 9):
        run = replace(RUN, seed=seed)
        run.write(tmp_path / f"mine/widget/seed{seed}/metrics.json")
    write_table(tmp_path)
    header, *rows = (tmp_path / "results.csv").read_text().splitlines()
    assert header == (
        "label,system,category,seed,image_auroc,image_ap,image_f1max,pixel_auroc,pixel_ap,"
        "pixel_f1max,pro,iap,iap90,train_minutes,peak_memory_mb,images_per_second"
    )
    assert header == ",".join(COLUMNS)
    assert [row.split(",")[3] for row in rows] == ["9", "10"]
    table = pd.read_csv(tmp_path / "results.csv")
    assert table["iap90"].isna().all()
    assert table["peak_memory_mb"].isna().all()
    assert (table["pixel_ap"] == 0.25).all()


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("stpm/distill", "f0fdf471b4cade89533616d98f69a3469a1d0a0ad1242c83dfd3287450b70db7"),
        ("rstpm/distill", "9512d2e091be9383570050caf276470fc2adbbbdb0e3cd34f2003d856c02b4a0"),
        ("destseg/distill", "3deef55316f70dde6fb76816bdc75a586127c2e031691220e302b30408570635"),
        ("destseg/segment", "5ecf5238d1fda2cf5940c3931bcf9a45c53239b17fb709a8716177b10e03aa3c"),
        ("pfadseg/distill", "88a60a476e4757576512efb0f879a229a429d4f496cc7941ff9fa752a382cfe7"),
        ("pfadseg/segment", "262c09d58e4d1357726cfc3feae1c503fec29b9f11941fdaf8a01d440cd1cdf6"),
        ("tedseg/distill", "ec15a7e60996b2841aadfe2519e707717e92b9ab5839a4e2753c1c7643e76065"),
        ("tedseg/segment", "2266f8035335b1913f037660ae3fa5bb617fe205be8957d4c7429cc07c6881a0"),
    ],
)
def test_no_recipe_changes_by_accident(recipe, expected):
    """Runs of a recipe with another hash, be it by a comment, are refused as those of other options."""
    assert sha256(config_path(*recipe.split("/")).read_bytes()).hexdigest() == expected


def test_a_metric_that_an_earlier_phase_lacks_is_undefined():
    """Written by a version without it, before the next phase was trained by this one."""
    content = json.loads(json.dumps(asdict(DISTILL)))
    del content["metrics"]["iap"]
    phase = PhaseResult.from_dict(content)
    assert phase.metrics == {**DISTILL.metrics, "iap": None}
    assert math.isnan(replace(RUN, metrics=phase.metrics).row()["iap"])
