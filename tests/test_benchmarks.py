"""The benchmarks match the package."""

import importlib.util
from pathlib import Path

import pytest
import torch

from padseg.models import SYSTEMS

SCRIPTS = sorted(Path(__file__).with_name("benchmarks").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inference = load(Path(__file__).with_name("benchmarks") / "inference.py")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_can_be_imported(path):
    assert callable(load(path).main)


def test_the_speed_of_every_system_is_measured():
    assert {*inference.SYSTEMS} == {*SYSTEMS} - {"toy"}  # of another test


@pytest.mark.parametrize("system", [pytest.param("rstpm", marks=pytest.mark.slow), "tedseg"])
def test_networks_whose_speed_is_measured(system):
    found = inference.padseg(system)(torch.zeros(1, 64, 48, 3, dtype=torch.uint8))
    assert found["score_map"].shape == (1, 1, 256, 256)
