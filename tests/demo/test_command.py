"""`padseg demo`."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from padseg.cli import main


def test_what_cannot_be_written_is_told(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["demo", "--out", str(tmp_path / "file/demo")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cannot be opened or written" in line
    assert "file" in line


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_reaches_its_goal(tmp_path):
    # A demo that was run already is found finished.
    out = Path(os.environ.get("PADSEG_DEMO", tmp_path))
    command = [sys.executable, "-m", "padseg", "demo", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out / "runs/results.csv")
    assert sorted(table["category"]) == ["cap", "fabric", "wood"]
    assert table["image_auroc"].min() >= 0.95
    assert table["pixel_ap"].min() >= 0.6
    assert table["iap"].min() >= 0.75
