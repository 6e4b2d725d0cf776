"""The benchmarks match the package."""

import importlib.util
from pathlib import Path

import pytest
import torch

from padseg.models import SYSTEMS, NetworkOptions, build_segmentation, build_student_teacher
from tiny import fill_memory, tiny_student

ABLATION = Path(__file__).with_name("benchmarks") / "ablation.py"  # a plugin
SCRIPTS = sorted({*Path(__file__).with_name("benchmarks").glob("*.py")} - {ABLATION})


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


def test_distances_of_a_student_are_compared():
    compare = load(Path(__file__).with_name("benchmarks") / "batch_norms.py").compare
    images = torch.rand(2, 3, 64, 64)
    evaluation, own, *_ = compare(tiny_student(top_k=5).eval(), images, images)
    assert evaluation.startswith("evaluation 0.")
    assert own.startswith("batch's own ")


@pytest.fixture
def variants():
    """TEDSeg's ablations, registered for one test."""
    before = dict(SYSTEMS)
    yield load(ABLATION).VARIANTS
    SYSTEMS.clear()
    SYSTEMS.update(before)


@pytest.mark.slow
def test_every_ablation_lacks_what_it_says(variants):
    torch.manual_seed(0)
    images, index = torch.rand(4, 3, 64, 64), torch.arange(4)
    pairs, networks = {}, {}
    for name in ("", *(f"-{name}" for name in variants)):
        options = NetworkOptions(f"tedseg{name}", teacher="test_resnet", memory_size=24)
        torch.manual_seed(0)
        network = build_student_teacher(options, "random").eval()
        fill_memory(network, images)
        networks[name] = build_segmentation(options, network.channels, width=16).eval()
        (pairs[name],) = network(images, index=index)
        assert networks[name](pairs[name]).shape == (4, 1, 16, 16)
    members = {name: len(network.members) for name, network in networks.items()}
    assert members == dict.fromkeys(networks, 2) | {"-one-net": 1}
    products = {name: network.products for name, network in networks.items()}
    assert products == dict.fromkeys(networks, 2) | {"-no-products": 0, "-all-products": 4}
    levels = {name: len(pair.teacher) for name, pair in pairs.items()}
    assert levels == dict.fromkeys(networks, 4) | {"-fine": 2, "-coarse": 2}
    own, left_out = (
        (pairs[name].teacher[0] * pairs[name].student[0]).sum(dim=1).mean() for name in ("-own", "")
    )
    assert own > left_out
    same = {name for name in networks if torch.equal(pairs[name].teacher[0], pairs[""].teacher[0])}
    assert networks.keys() - same == {"-coarse", "-not-averaged"}
    same = {
        name for name in networks if torch.equal(pairs[name].teacher[-1], pairs[""].teacher[-1])
    }
    assert networks.keys() - same == {"-fine", "-not-enlarged", "-not-averaged"}
    whole = SYSTEMS["tedseg"]
    assert SYSTEMS["tedseg-focal"].gamma > whole.gamma
    assert SYSTEMS["tedseg-probability"].segmentation_map is not whole.segmentation_map
