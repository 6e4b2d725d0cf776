"""Convolutions in 8-bit integers."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image

from padseg.cli import main
from padseg.export import export
from padseg.export.int8 import _print_differences
from tiny import SECOND_TEACHER

from .helpers import SIZE, as_input, make, pixels, run_onnx, run_openvino


@pytest.mark.slow
def test_int8_takes_its_ranges_from_images(stpm, stpm_onnx, tmp_path, capsys):
    for index, image in enumerate(pixels(6, 90, 70)):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    out = tmp_path / "net.onnx"
    for _ in range(2):  # the same bytes: nothing to refuse
        args = ["export", str(stpm), "--format", "onnx", "--out", str(out), "--int8", str(tmp_path)]
        assert main(args) == 0
    told = " ".join(capsys.readouterr().out.split())
    model = onnx.load(out)
    described = json.loads({p.key: p.value for p in model.metadata_props}["padseg"])
    assert described["weights"] == "int8"
    fed_by = {node.output[0]: node.op_type for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        assert {fed_by[name] for name in node.input} == {"DequantizeLinear"}
    weights = [x for x in model.graph.initializer if x.data_type == onnx.TensorProto.INT8]
    # With more, sums overflow on processors without VNNI.
    assert {int(abs(onnx.numpy_helper.to_array(x).astype(int)).max()) for x in weights} <= {0, 64}
    assert out.stat().st_size < stpm_onnx.stat().st_size / 2
    images = pixels(6, 90, 70)
    expected = run_onnx(stpm_onnx, images)
    for run in (run_onnx, run_openvino):
        found = run(out, images)
        moved = np.abs(found["score_map"] - expected["score_map"]).max()
        assert 0 < moved < 0.1 * expected["score_map"].max()
    moved = np.abs(run_onnx(out, images)["score_map"] - expected["score_map"]).max()
    assert (
        f"On 6 normal images, the score maps of INT8 and float32 differ by at most {moved:.4g}"
        in told
    )
    assert "Maps of defects can differ more" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "kept"),
    [("destseg", 1), ("pfadseg", 1), ("rstpm", 0)],
)
def test_int8_leaves_out_what_makes_logits(system, kept, tmp_path):
    """Their range on normal images would cap the scores of defects."""
    blobs = pixels(6, 90, 70)
    for index, image in enumerate(blobs[:2]):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    checkpoint = make(system, tmp_path, as_input(pixels(6, SIZE, SIZE)))
    export(checkpoint, "onnx", tmp_path / "net.onnx", int8=[tmp_path])
    graph = onnx.load(tmp_path / "net.onnx").graph
    maker = {name: node for node in graph.node for name in node.output}
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    full = [node for node in convolutions if node.input[1] not in maker]
    assert len(full) == kept
    for node in full:
        assert tuple(shapes[node.input[1]]) == (1, 16, 1, 1)
        assert maker[node.input[0]].op_type == "Relu"
    for node in convolutions:
        expected = set() if node in full else {"DequantizeLinear"}
        assert {maker[name].op_type for name in node.input[1:] if name in maker} == expected
    assert run_onnx(tmp_path / "net.onnx", blobs)["score_map"].shape == (6, 1, SIZE, SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(("second", "networks"), [({}, 2), (SECOND_TEACHER, 4)])
def test_int8_leaves_the_teacher_of_a_memory_alone(second, networks, tmp_path):
    """An error of 8 bits is larger than the distances that are looked up. And what makes logits, as above."""
    blobs = pixels(6, 90, 70)
    for index, image in enumerate(blobs[:2]):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    checkpoint = make("tedseg", tmp_path, as_input(pixels(6, SIZE, SIZE)), **second)
    export(checkpoint, "onnx", tmp_path / "full.onnx")
    export(checkpoint, "onnx", tmp_path / "net.onnx", int8=[tmp_path])
    nodes = onnx.load(tmp_path / "net.onnx").graph.node
    made = {name for node in nodes for name in node.output}
    chosen = max(place for place, node in enumerate(nodes) if node.op_type == "ArgMax")
    convolutions = [(place, node) for place, node in enumerate(nodes) if node.op_type == "Conv"]
    quantised = [place for place, node in convolutions if node.input[1] in made]
    assert len(quantised) > 5
    assert min(quantised) > chosen
    assert sum(place > chosen for place, _ in convolutions) == len(quantised) + networks
    expected, found = (run_onnx(tmp_path / f"{name}.onnx", blobs) for name in ("full", "net"))
    moved = np.abs(found["score_map"] - expected["score_map"]).max()
    assert 0 < moved < 0.1 * expected["score_map"].max()


@pytest.mark.parametrize(
    "names", [["score_map", "image_score"], ["score_map", "image_score", "anomalous"]]
)
def test_verdicts_are_compared_where_there_are_some(names, tmp_path, monkeypatch, capsys):
    session = SimpleNamespace(
        get_outputs=lambda: [SimpleNamespace(name=name) for name in names],
        run=lambda asked, image: [np.zeros(1) for _ in asked],
    )
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda content: session)
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    _print_differences(b"", b"", [tmp_path / "0.png"], 16)
    told = " ".join(capsys.readouterr().out.split())
    assert ("0 verdicts change" in told) == ("anomalous" in names)
