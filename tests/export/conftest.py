"""A calibrated checkpoint of STPM, and its ONNX file."""

from pathlib import Path

import pytest

from padseg.cli import main

from .helpers import SIZE, as_input, make, pixels


@pytest.fixture(scope="session")
def stpm(tmp_path_factory) -> Path:
    return make("stpm", tmp_path_factory.mktemp("stpm"), as_input(pixels(6, SIZE, SIZE)))


@pytest.fixture(scope="session")
def stpm_onnx(stpm) -> Path:
    out = stpm.with_name("net.onnx")
    assert main(["export", str(stpm), "--format", "onnx", "--out", str(out)]) == 0
    return out
