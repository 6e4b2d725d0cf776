"""Programs of torch.export."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from padseg.export import export
from padseg.export.network import Deployed
from padseg.export.torch_export import to_program
from padseg.inference import load_module

from .helpers import as_input, check_same, pixels


@pytest.mark.slow
def test_a_torch_program_needs_no_padseg(stpm, tmp_path):
    for _ in range(2):
        export(stpm, "torch", tmp_path / "net.pt2")
    images = pixels(3, 90, 70)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys; sys.modules['padseg'] = None\n"
        "import numpy, torch\n"
        "extra = {'padseg.json': ''}\n"
        "network = torch.export.load('net.pt2', extra_files=extra).module()\n"
        "assert 'stpm' in extra['padseg.json']\n"
        "found = network(torch.from_numpy(numpy.load('images.npy')))\n"
        "numpy.savez('found.npz', **{k: v.numpy() for k, v in found.items()})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    check_same(dict(np.load(tmp_path / "found.npz")), load_module(stpm), as_input(images), 1e-5)


@pytest.mark.slow
def test_a_torch_program_runs_on_another_device(stpm):
    """Of two devices, every machine has the CPU and `meta`, which computes shapes alone."""
    program = to_program(Deployed(load_module(stpm))).module().to("meta")
    for height, width in ((64, 64), (90, 70)):
        image = torch.empty(3, height, width, 3, dtype=torch.uint8, device="meta")
        found = program(image)
        assert {value.device.type for value in found.values()} == {"meta"}
        assert found["score_map"].shape == (3, 1, 64, 64)


@pytest.mark.gpu
@pytest.mark.usefixtures("without_tf32")
@pytest.mark.parametrize("size", [(64, 64), (90, 70)])
def test_a_torch_program_on_a_gpu(stpm, size, gpu):
    images = pixels(3, *size)
    program = to_program(Deployed(load_module(stpm))).module().to(gpu)
    found = program(torch.from_numpy(images).to(gpu))
    assert {value.device.type for value in found.values()} == {gpu}
    found = {name: value.cpu().numpy() for name, value in found.items()}
    # Not the module of the program, whose weights may have moved along.
    check_same(found, load_module(stpm), as_input(images), 1e-4)
