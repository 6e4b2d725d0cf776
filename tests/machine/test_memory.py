"""Peak memory does not grow with the test set; tests/benchmarks/memory.py measures 20,000 images."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "memory.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_images():
    spec = importlib.util.spec_from_file_location("memory", BENCHMARK)
    memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(memory)
    measure = memory.measure
    # The state of the metrics is full after the first number of images.
    few, many = (measure(count, 64)[0] for count in (2000, 8000))
    # The maps alone would be 94 MiB more.
    assert many - few < 47
