"""Checkpoints: what padseg adds to Lightning's, and reading them without trusting them.

A checkpoint holds tensors and plain types only and is read with `weights_only=True`. It is complete:
teacher, student and, after phase two, segmentation network, with the options that rebuild them.
"""

import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from padseg.errors import CheckpointError

KEY = "padseg"
FORMAT = 1
# As the value of an option that names a weight file: the weights are in the checkpoint itself.
STORED = "stored"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read one of padseg's checkpoints on the CPU.

    Returns:
        Lightning's checkpoint dict; under `padseg` the format version, the module's class, the system
        and the SHA-256 of the teacher.

    Raises:
        CheckpointError: The file is missing, damaged, holds code, or is not padseg's.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes): train again.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} is refused: it holds something else than tensors and plain values, "
            "which could run code when it is loaded."
        ) from error
    except (BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({_first_line(error)}).") from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise CheckpointError(
            f"{path} is not a checkpoint of padseg: pass one that it has written."
        )
    if (version := checkpoint[KEY]["format"]) != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {version}, this padseg reads {FORMAT}: use the padseg "
            f"({checkpoint[KEY]['version']}) that wrote it."
        )
    return checkpoint


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0].rstrip(".") or type(error).__name__
