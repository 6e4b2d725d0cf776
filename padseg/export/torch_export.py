"""A network as a torch.export program, which torch runs without padseg."""

import io
import logging
from pathlib import Path

import torch

from padseg.export.network import Deployed
from padseg.export.source import ExportSource

_log = logging.getLogger(__name__)
AXES = ("batch", "height", "width")
"""Names of the dynamic axes of the input."""


def make_files(source: ExportSource, out: Path) -> dict[Path, bytes]:
    """A single file with the saved program."""
    if out.suffix != ".pt2":
        _log.warning(
            "%s does not end in .pt2, so PyTorch warns whenever it is loaded: name it %s.",
            out,
            out.with_suffix(".pt2").name,
        )
    source.require_own(out)
    return {out: to_torch(source.network(), source.described)}


def to_torch(network: Deployed, description: str) -> bytes:
    """The content of a saved program of a network, with its description in `padseg.json`."""
    buffer = io.BytesIO()
    torch.export.save(to_program(network), buffer, extra_files={"padseg.json": description})
    return buffer.getvalue()


def to_program(network: Deployed) -> torch.export.ExportedProgram:
    """Trace a network for any batch and size of images."""
    height, width = network.size
    # No size of the example is special, so that none becomes a constant.
    example = torch.zeros(2, height + 3, width + 5, 3, dtype=torch.uint8)
    free = {axis: torch.export.Dim(name) for axis, name in enumerate(AXES)}
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=(free,))
    for graph in program.graph_module.modules():  # including branches
        for node in list(graph.graph.nodes):
            node.meta.pop("stack_trace", None)  # contains paths of this machine
            if node.target is torch.ops.aten._assert_tensor_metadata.default:
                graph.graph.erase_node(node)  # would insist on the device of the export
    return program
