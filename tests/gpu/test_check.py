"""The check of a GPU, tried on the CPU."""

import os
import re
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).with_name("check.sh")
ROOT = CHECK.parents[2]


def check(*words, **environment):
    """Its exit status, and the verdicts of its steps."""
    done = subprocess.run(
        ["bash", str(CHECK), *words],
        env={**os.environ, "TINY": "1", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    summary = done.stdout.split("\n\n")[-1]
    found = re.findall(r"^(PASS|FAIL) +\d+ s  (.+)$", summary, re.MULTILINE)
    return done.returncode, {name: verdict for verdict, name in found}, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_step_passes():
    status, steps, said = check()
    assert set(steps.values()) == {"PASS"}, said
    assert status == 0
    assert len(steps) > 15
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "\n@pytest.mark.gpu" in path.read_text(encoding="utf-8")
    }
    assert {f"tests of {path}" for path in marked} <= set(steps)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_broken_step_fails_and_stops_no_other():
    words = ("data", "detect", "test_mixture", "test_predictor")
    status, steps, said = check(*words, PADSEG_GPU="nowhere")
    assert status == 1
    assert steps.pop("data") == "PASS"
    assert len(steps) == 3
    assert set(steps.values()) == {"FAIL"}
    assert "nowhere" in said


@pytest.mark.slow
def test_a_word_of_no_step_fails():
    assert check("no step has this name")[0] == 1
