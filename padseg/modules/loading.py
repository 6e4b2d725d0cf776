"""Modules from checkpoints and from safetensors files, and safetensors files from modules."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from lightning import LightningModule
from safetensors import SafetensorError, safe_open

from padseg.errors import CheckpointError
from padseg.modules import AnomalyModule, SegmentationModule, StudentDistillModule, read_checkpoint
from padseg.modules.checkpoint import (
    Checkpoint,
    check_format,
    mismatch_explained,
    require_system,
    warn_of_subclass,
)
from padseg.modules.header import DATA_KEY, HEADER_KEY, Header

WEIGHTS_FILE = "model.safetensors"  # the name that hubs use
DESCRIPTION_KEY = "padseg"
"""Key of the description of an exported file in its metadata."""
_CLASSES = {kind.__name__: kind for kind in (StudentDistillModule, SegmentationModule)}


def load_module(path: str | Path) -> AnomalyModule:
    """Build a module in eval mode, on the CPU, from a file; no pickle is executed.

    Args:
        path: A checkpoint, a safetensors file that `padseg export` wrote, or its folder.

    Raises:
        CheckpointError: The file is missing, damaged, or not from padseg.
    """
    return build_module(read_any(path), path)


def build_module(checkpoint: Mapping[str, Any], path: str | Path) -> AnomalyModule:
    """Build a module in eval mode, on the CPU, out of what `read_any` has read from a path.

    Raises:
        CheckpointError: The content is damaged, or does not fit this version of its system.
    """
    with mismatch_explained(str(path)):
        header = Header.from_checkpoint(checkpoint)
        require_system(header, str(path))
        warn_of_subclass(header, str(path))
        module = _CLASSES[header.class_name](**header.hyper_parameters)
        # Not the module's own, whose error would not name the file.
        LightningModule.load_state_dict(module, checkpoint["state_dict"])
        module.on_load_checkpoint(dict(checkpoint))
    return module.eval()


def read_any(path: str | Path) -> Checkpoint:
    """Read a checkpoint or a safetensors file as `padseg.modules.read_checkpoint` does."""
    path = Path(path)
    if path.is_dir():
        if not (path / WEIGHTS_FILE).is_file():
            raise CheckpointError(
                f"{path} is a folder without {WEIGHTS_FILE}: name the checkpoint first, such as "
                f"{max(path.glob('*.ckpt'), default=path / 'segment.ckpt')}."
            )
        path /= WEIGHTS_FILE
    return _read_safetensors(path) if path.suffix == ".safetensors" else read_checkpoint(path)


def _read_safetensors(path: Path) -> Checkpoint:
    if not path.is_file():
        raise CheckpointError(f"weight file {path} does not exist.")
    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {}).get(DESCRIPTION_KEY, "{}"))
        state = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"weight file {path} is damaged: export it again.") from error
    if "module" not in described:
        raise CheckpointError(f"{path} was not written by padseg export --format safetensors.")
    check_format(described["module"], str(path))
    return {**described["module"], "state_dict": state}


def to_safetensors(checkpoint: Checkpoint, description: dict[str, Any]) -> bytes:
    """The weights of a checkpoint, with the options that rebuild the module, as a safetensors file."""
    described = description | {"module": stored_module(checkpoint)}
    state = {name: value.contiguous() for name, value in checkpoint["state_dict"].items()}
    # A single key, because the library stores several in any order, and equal weights should give equal bytes.
    return safetensors.torch.save(state, {DESCRIPTION_KEY: json.dumps(described)})


def stored_module(checkpoint: Checkpoint) -> Checkpoint:
    """Everything in a checkpoint that rebuilds the module, and what it was trained on, in plain values without weights."""
    names = (HEADER_KEY, "hyper_parameters", DATA_KEY)  # the last one may be unknown
    return {name: checkpoint[name] for name in names if name in checkpoint}
