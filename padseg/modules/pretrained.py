"""Modules from files for exchange, as hubs hand them out."""

from pathlib import Path
from typing import Self

from padseg.errors import CheckpointError


class Pretrained:
    """A module with `from_pretrained`."""

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Build a trained module in eval mode, on the CPU; no pickle is executed.

        Args:
            path: A folder or safetensors file that `padseg export --format safetensors` wrote, or a
                checkpoint. A folder on a hub is downloaded first, such as with
                `huggingface_hub.snapshot_download`.

        Raises:
            CheckpointError: There is none, it is damaged, or it is of another class.
        """
        from padseg.modules.loading import load_module  # which knows the classes

        module = load_module(path)
        if not isinstance(module, cls):
            name = type(module).__name__
            raise CheckpointError(f"{path} is of class {name}: use {name}.from_pretrained.")
        return module
