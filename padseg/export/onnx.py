"""A network as one ONNX file."""

from pathlib import Path
from typing import Any

import torch

from padseg.export.int8 import to_int8
from padseg.export.network import Deployed
from padseg.export.source import ExportSource
from padseg.export.torch_export import AXES, to_program
from padseg.modules.loading import DESCRIPTION_KEY


def make_files(source: ExportSource, out: Path) -> dict[Path, bytes]:
    """A single file, including the weights."""
    source.require_own(out)
    return {out: make_model(source)}


def make_model(source: ExportSource) -> bytes:
    """The content of the ONNX file, with convolutions in 8-bit integers if the source has images for this."""
    model = to_onnx(source.network(), source.described)
    if not source.int8_images:
        return model
    return to_int8(model, source.int8_images, source.description.bits)


def to_onnx(network: Deployed, description: str) -> bytes:
    """A network as the content of an ONNX file, with its description."""
    names = ["score_map", "image_score"]
    if network.calibration is not None:
        names += ["score", "normalised_map", "anomalous"]
    exported = torch.onnx.export(to_program(network), output_names=names, verbose=False)
    assert exported is not None
    model = exported.model_proto
    _strip(model.graph)
    for name, dim in zip(AXES, model.graph.input[0].type.tensor_type.shape.dim, strict=False):
        _rename_axis(model.graph, dim.dim_param, name)
    model.metadata_props.add(key=DESCRIPTION_KEY, value=description)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _strip(graph: Any) -> None:
    """Remove the source locations of operations."""
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
