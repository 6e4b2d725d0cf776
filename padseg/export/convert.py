"""Convert a checkpoint to a format for deployment, ONNX, OpenVINO or torch.export, or for exchange."""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path

from padseg.errors import ConfigError, PadsegError
from padseg.export.description import describe, find_run
from padseg.export.formats import FORMATS
from padseg.export.source import ExportSource, other_content
from padseg.inference.inputs import find_images
from padseg.machine.files import write_bytes
from padseg.modules import Header
from padseg.modules.checkpoint import require_system
from padseg.modules.loading import read_any
from padseg.options import one_of


def export(
    checkpoint: str | Path,
    format: str,
    out: str | Path,
    half: bool = False,
    int8: Sequence[str | Path] = (),
    license: str | None = None,
) -> None:
    """Write a checkpoint in a format that does not need padseg, or for exchange.

    ONNX, OpenVINO and torch files contain pre-processing, network and thresholds. The input is `image`, RGB
    (batch, height, width, 3) uint8 of any batch and size. The outputs are `score_map` (batch, 1, h, w) at
    the network's size, `image_score` (batch,) and, if the module is calibrated, `score`, `normalised_map` and
    `anomalous`, see `Deployed`. All files contain a JSON description under the key `padseg`.

    Args:
        checkpoint: Written by training, or a safetensors file of this function.
        format: `onnx`; `openvino`, which puts the weights into a .bin file beside `out`; `torch`, a
            torch.export program; or `safetensors`, a file if `out` ends in .safetensors, otherwise a folder
            with a configuration and a model card.
        out: The file to write.
        half: Store the weights in float16, for half the size; the arithmetic stays float32.
        int8: Normal images, or folders, of which the good images are taken as by `padseg train`, on which to
            measure the ranges of 8-bit convolutions; see `padseg.export.int8`. Empty for float32.
        license: Identifier of the licence in the model card, such as apache-2.0; None for that of the
            teacher's weights.

    Raises:
        PadsegError: An input is wrong, a package is missing, or `out` exists with other content.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    one_of("--format", format, FORMATS)
    chosen = FORMATS[format]
    if half and not chosen.half:
        raise ConfigError(
            f"--half cannot be combined with --format {format}, which keeps the weights as they are."
        )
    if int8 and (half or not chosen.int8):
        able = " or ".join(name for name, one in FORMATS.items() if one.int8)
        raise ConfigError(f"--int8 needs --format {able}, and cannot be combined with --half.")
    others = [name for name, one in FORMATS.items() if one.suffix and one.suffix == out.suffix]
    if others and format not in others:
        raise ConfigError(
            f"--out {out} ends like a file of --format {others[0]}, not {format}: change one of them."
        )
    if format != "safetensors" and out.is_dir():
        raise ConfigError(f"--out {out} is a folder: {format} is a file, so name one in it.")
    if format == "safetensors" and out.suffix != ".safetensors" and out.is_file():
        raise ConfigError(
            f"--out {out} is a file: safetensors is a folder, or a file whose name ends in .safetensors."
        )
    above = next((folder for folder in out.absolute().parents if folder.exists()), out)
    if not above.is_dir():
        raise ConfigError(f"--out {out} cannot be written: {above} is a file.")
    if license is not None and (format != "safetensors" or out.suffix == ".safetensors"):
        raise ConfigError(
            "--license goes into the model card of --format safetensors, whose --out is a folder."
        )
    if license is not None and not re.fullmatch(r"[\w.+-]+", license):
        raise ConfigError(f"--license is {license!r}; give an identifier such as apache-2.0.")
    for package in (*chosen.packages, *(("onnxruntime",) if int8 else ())):
        _require(package, format)
    images = find_images(int8, good=True) if int8 else []
    content = read_any(checkpoint)
    header = Header.from_checkpoint(content)
    require_system(header, str(checkpoint))
    run = find_run(checkpoint, header)
    description = describe(header, run, "float16" if half else "int8" if int8 else "float32")
    source = ExportSource(checkpoint, content, description, run, half, images, license)
    write_new(chosen.make_files(source, out))


def write_new(files: dict[Path, bytes]) -> None:
    """Write files, without overwriting files with other content.

    Raises:
        PadsegError: There is such a file, or the folder cannot be written.
    """
    new = {}
    for path, content in files.items():
        if not path.exists():
            new[path] = content
        elif path.is_dir() or path.read_bytes() != content:
            raise other_content(path)
    try:
        for path, content in new.items():
            write_bytes(path, content)
    except OSError as error:
        raise PadsegError(
            f"{path} cannot be written ({error.strerror}): pass another --out."
        ) from error


def _require(package: str, format: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"--format {format} needs the package {package}: pip install 'padseg[export]'."
        ) from error
