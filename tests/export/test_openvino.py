"""Files for OpenVINO."""

import json

import openvino
import pytest

from padseg.export import export
from padseg.inference import load_module

from .helpers import as_input, check_same, pixels, run_openvino


@pytest.mark.slow
def test_openvino_files_are_described_and_repeatable(stpm, tmp_path):
    for _ in range(2):  # the same bytes: nothing to refuse
        export(stpm, "openvino", tmp_path / "net.xml", half=True)
    model = openvino.Core().read_model(tmp_path / "net.xml")
    assert json.loads(model.get_rt_info(["padseg"]).value)["weights"] == "float16"
    assert (tmp_path / "net.bin").is_file()
    images = pixels(3, 90, 70)
    check_same(
        run_openvino(tmp_path / "net.xml", images), load_module(stpm), as_input(images), 5e-3
    )
