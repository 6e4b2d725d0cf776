"""Weight files of backbones: read without running code from them, matched by name, hashed."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from padseg.errors import CheckpointError
from padseg.machine.files import expanded


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict without running code from it.

    Args:
        path: a .safetensors file; under any other name, a file that torch.save wrote.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        CheckpointError: there is no such file, or it holds something else.
    """
    path = expanded(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"weight file {path} {what}; give the path of a .safetensors file or of a "
            "torch state dict, or 'pretrained' for the timm hub."
        )
    try:
        state = (
            safetensors.torch.load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # both libraries raise any kind of error on broken files
        raise CheckpointError(
            f"weight file {path} cannot be read ({type(error).__name__}); give an intact "
            ".safetensors file or a torch state dict that holds tensors only."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"weight file {path} holds something other than a state dict; save "
            "model.state_dict() and give that file."
        )
    return state


def load_weights(net: nn.Module, state: dict[str, Tensor], name: str, path: str) -> None:
    """Select the weights that `net` needs from `state`.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    needed = net.state_dict()
    # Batch counters have no effect in eval mode, and some exporters drop them.
    optional = {key for key in needed if key.endswith("num_batches_tracked")}
    source = {key: _stored_name(key, state) for key in needed}
    missing = [key for key in needed if source[key] not in state and key not in optional]
    if missing:
        raise CheckpointError(
            f"weight file {path} lacks {len(missing)} of the {len(needed) - len(optional)} weights "
            f"that {name} needs: {_summary(missing)}; give a file with all of them."
        )
    found = {key: state[source[key]] for key in needed if source[key] in state}
    wrong = [key for key, value in found.items() if value.shape != needed[key].shape]
    if wrong:
        first = wrong[0]
        raise CheckpointError(
            f"weight file {path} is not made for {name}: {_summary(wrong)} differ in shape "
            f"({first} is {tuple(found[first].shape)}, needed {tuple(needed[first].shape)}); "
            "give the file of this backbone."
        )
    net.load_state_dict(found, strict=False)


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Hash a state dict (sha256, hex): the same on every device and in every memory format."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stored_name(key: str, state: dict[str, Tensor]) -> str:
    """The name of a weight in a whole model: timm's pyramids call `stages.0` `stages_0`."""
    top, _, rest = key.partition(".")
    return key if key in state else f"{'.'.join(top.rsplit('_', 1))}.{rest}"


def _summary(keys: Sequence[str], limit: int = 4) -> str:
    """List a few names in full, or many by the part of the network to which they belong."""
    if len(keys) <= limit:
        return ", ".join(keys)
    parts = Counter(key.split(".")[0] for key in keys)
    return ", ".join(f"{part} ({number})" for part, number in parts.items())
