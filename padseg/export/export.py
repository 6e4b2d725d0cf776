"""A checkpoint as one file for the line: ONNX, OpenVINO, torch.export, or weights for exchange."""

import hashlib
import importlib
import io
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from padseg import __version__
from padseg.errors import ConfigError, PadsegError
from padseg.export.card import model_card
from padseg.export.int8 import to_int8
from padseg.export.network import Deployed
from padseg.inference.inputs import find_images
from padseg.inference.weights import (
    DESCRIPTION_KEY,
    WEIGHTS_FILE,
    load_module,
    read_any,
    stored_module,
    to_safetensors,
)
from padseg.machine.files import read_json, write_bytes
from padseg.metrics.calibration import Calibration
from padseg.models import SYSTEMS
from padseg.modules import Header
from padseg.names import EXPORT_FORMATS
from padseg.options import one_of

_log = logging.getLogger(__name__)

_AXES = ("batch", "height", "width")
_NEEDS = {"onnx": ("onnx", "onnxscript"), "openvino": ("onnx", "onnxscript", "openvino")}
_INT8 = ("onnx", "openvino")


def export(
    checkpoint: str | Path,
    format: str,
    out: str | Path,
    half: bool = False,
    int8: Sequence[str | Path] = (),
) -> None:
    """Write a checkpoint in a format that needs no padseg, or for exchange.

    ONNX, OpenVINO and torch hold pre-processing, network and thresholds: in goes `image`, RGB
    (batch, height, width, 3) uint8 of any batch and size, out come `score_map` (batch, 1, h, w) at the
    network's size, `image_score` (batch,) and, where the module is calibrated, `anomalous` (batch,).
    All hold a JSON description under the key `padseg`.

    Args:
        checkpoint: Written by training, or a safetensors file of this function.
        format: `onnx`; `openvino`, which by its nature puts the weights into a .bin file beside `out`;
            `torch`, a torch.export program; or `safetensors`, a file where `out` ends so, else a
            folder with a configuration and a model card.
        out: The file to write.
        half: Keep the weights in float16, for half the size; the arithmetic stays float32.
        int8: Normal images, or folders of them, to take the ranges of 8-bit convolutions from; see
            `padseg.export.int8`. None: float32.

    Raises:
        PadsegError: An input is wrong, a package is missing, or `out` has another content already.
    """
    out = Path(out)
    one_of("--format", format, EXPORT_FORMATS)
    if half and format == "safetensors":
        raise ConfigError(
            "--half does not go with --format safetensors, which keeps the checkpoint."
        )
    if int8 and (half or format not in _INT8):
        raise ConfigError(f"--int8 goes with --format {' or '.join(_INT8)}, and without --half.")
    for package in (*_NEEDS.get(format, ()), *(("onnxruntime",) if int8 else ())):
        _require(package, format)
    images = find_images(int8) if int8 else []
    if out.suffix == ".bin" and format == "openvino":
        raise ConfigError(f"--out {out}: that name is for the weights, name the .xml file.")
    found = read_any(checkpoint)
    header = Header.from_checkpoint(found)
    run = find_run(Path(checkpoint), header)
    described = describe(header, run, "float16" if half else "int8" if int8 else "float32")
    if format == "safetensors":
        write_new(_exchange(found, described, run, out))
        return
    module = load_module(checkpoint)
    if module.calibration is not None:
        _warn_of_verdicts(module.calibration)
    network = Deployed(module, half).eval()
    text = json.dumps(described)
    if format == "torch":
        write_new({out: _torch(network, text)})
        return
    model = to_onnx(network, text)
    if images:
        model = to_int8(model, images)
    write_new({out: model} if format == "onnx" else _openvino(model, text, out))


def _warn_of_verdicts(calibration: Calibration) -> None:
    """Say it where thresholds were set with scores of another kind than the exported network's."""
    if calibration.tile is not None:
        _log.warning(
            "The thresholds were set with --tile %s, the exported network takes whole images, so it gives "
            "no verdicts: set them without --tile, with padseg calibrate.",
            calibration.tile,
        )
    elif calibration.precision not in (None, "32-true"):
        _log.warning(
            "The thresholds were set in %s, the exported network computes in float32: verdicts of scores "
            "near the threshold may differ; padseg calibrate --precision 32-true sets them anew.",
            calibration.precision,
        )


def describe(header: Header, run: dict[str, Any] | None, weights: str) -> dict[str, Any]:
    """What an exported file says about itself, in plain values.

    Args:
        header: Of the checkpoint.
        run: What `padseg run` has measured, if it is known.
        weights: Type of the stored weights.
    """
    system = SYSTEMS[header.system]
    teachers = (header.network.teacher, header.network.teacher2)[: len(system.teachers)]
    fingerprint = (run or {}).get("fingerprint", {})
    return {
        "padseg": __version__,
        "system": system.name,
        "module": header.class_name,
        "teacher": [given or own for given, own in zip(teachers, system.teachers, strict=True)],
        "teacher_sha256": header.teacher_sha256,
        "image_size": list(header.hyper_parameters["image_size"]),
        "calibration": None if header.calibration is None else header.calibration.to_dict(),
        "category": (run or {}).get("category"),
        "data_sha256": fingerprint.get("data_sha256"),
        "weights": weights,
        "input": "image: RGB, uint8, (batch, height, width, 3), any batch and size",
    }


def find_run(path: Path, header: Header) -> dict[str, Any] | None:
    """The metrics.json beside a checkpoint of `padseg run`; None without one of the same teacher."""
    beside = path.parent / "metrics.json"
    if not beside.is_file():
        return None
    try:
        run = read_json(beside)
        same = run["fingerprint"]["teacher_sha256"] == header.teacher_sha256
        return run if same and run["system"] == header.system else None
    except (ValueError, KeyError, TypeError):  # any other's file of this name
        return None


def write_new(files: dict[Path, bytes]) -> None:
    """Write files, but none over a file of other content.

    Raises:
        PadsegError: There is such a file, or the folder cannot be written.
    """
    for path, content in files.items():
        if path.exists() and (path.is_dir() or path.read_bytes() != content):
            raise PadsegError(f"{path} exists with other content: remove it or pass another --out.")
    try:
        for path, content in files.items():
            write_bytes(path, content)
    except OSError as error:
        raise PadsegError(f"{path} cannot be written ({error.strerror}): pass --out.") from error


def _require(package: str, format: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"--format {format} needs the package {package}: pip install 'padseg[export]'."
        ) from error


def _program(network: Deployed) -> torch.export.ExportedProgram:
    height, width = network.size
    # No size of the example is special, so none becomes a constant.
    example = torch.zeros(2, height + 3, width + 5, 3, dtype=torch.uint8)
    free = {axis: torch.export.Dim(name) for axis, name in enumerate(_AXES)}
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=(free,))
    for graph in program.graph_module.modules():  # the branches too
        for node in graph.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _torch(network: Deployed, described: str) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_program(network), buffer, extra_files={"padseg.json": described})
    return buffer.getvalue()


def to_onnx(network: Deployed, described: str) -> bytes:
    """A network as the content of an ONNX file, with its description."""
    names = ["score_map", "image_score", *(["anomalous"] if network.threshold is not None else [])]
    exported = torch.onnx.export(_program(network), output_names=names, verbose=False)
    assert exported is not None
    model = exported.model_proto
    _strip(model.graph)
    for name, dim in zip(_AXES, model.graph.input[0].type.tensor_type.shape.dim, strict=False):
        _rename_axis(model.graph, dim.dim_param, name)
    model.metadata_props.add(key=DESCRIPTION_KEY, value=described)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _strip(graph: Any) -> None:
    """Remove where in the sources each operation came from."""
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (graph, *graph.node, *values):
        del part.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):  # a branch
                _strip(attribute.g)


def _rename_axis(graph: Any, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == old:
                dim.dim_param = new


def _openvino(onnx: bytes, described: str, out: Path) -> dict[Path, bytes]:
    import openvino

    model = openvino.Core().read_model(onnx)
    model.set_rt_info(described, [DESCRIPTION_KEY])
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "model.xml"
        openvino.save_model(model, xml, compress_to_fp16=False)
        tree = ElementTree.parse(xml)  # noqa: S314 - written right above
        for index, layer in enumerate(tree.iter("layer")):  # else numbered as the process goes
            layer.set("name", f"{layer.get('type')}_{index}")
        # The weights first: once the .xml is there, the pair is complete.
        return {
            out.with_suffix(".bin"): xml.with_suffix(".bin").read_bytes(),
            out: ElementTree.tostring(tree.getroot()),
        }


def _exchange(
    checkpoint: dict[str, Any], described: dict[str, Any], run: dict[str, Any] | None, out: Path
) -> dict[Path, bytes]:
    weights = to_safetensors(checkpoint, described)
    if out.suffix == ".safetensors":
        return {out: weights}
    sha256 = hashlib.sha256(weights).hexdigest()
    config = described | {"weights_sha256": sha256, "module": stored_module(checkpoint)}
    return {
        out / WEIGHTS_FILE: weights,
        out / "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        out / "README.md": model_card(described, run).encode(),
    }
