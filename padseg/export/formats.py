"""The table of export formats.

To add a format, write a file with a function that makes its files, and add an entry here and its name in
`padseg.names`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from padseg.export import onnx, openvino, safetensors, torch_export
from padseg.export.source import ExportSource


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        make_files: Makes the content of each file from a source and the requested path.
        packages: Packages that it needs in addition to padseg's dependencies.
        half: Whether its weights can be stored in float16.
        int8: Whether its convolutions can compute in 8-bit integers.
        suffix: The ending of its files, which no other format may have in their place; empty for any.
    """

    make_files: Callable[[ExportSource, Path], dict[Path, bytes]]
    packages: tuple[str, ...] = ()
    half: bool = True
    int8: bool = False
    suffix: str = ""


FORMATS: dict[str, Format] = {
    "onnx": Format(onnx.make_files, ("onnx", "onnxscript"), int8=True, suffix=".onnx"),
    "openvino": Format(
        openvino.make_files, ("onnx", "onnxscript", "openvino"), int8=True, suffix=".xml"
    ),
    "torch": Format(torch_export.make_files, suffix=".pt2"),
    "safetensors": Format(safetensors.make_files, half=False, suffix=".safetensors"),
}
