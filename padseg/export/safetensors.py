"""A checkpoint for exchange: its weights as safetensors, alone or with a configuration and a card."""

import hashlib
import json
from pathlib import Path

from padseg.export.card import model_card
from padseg.export.source import ExportSource
from padseg.modules.loading import WEIGHTS_FILE, stored_module, to_safetensors


def make_files(source: ExportSource, out: Path) -> dict[Path, bytes]:
    """A single file if `out` ends in .safetensors, otherwise a folder as hubs expect it."""
    description = source.description.to_dict()
    weights = to_safetensors(source.checkpoint, description)
    if out.suffix == ".safetensors":
        return {out: weights}
    sha256 = hashlib.sha256(weights).hexdigest()
    module = stored_module(source.checkpoint)
    config = description | {"weights_sha256": sha256, "module": module}
    return {
        out / WEIGHTS_FILE: weights,
        out / "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        out / "README.md": model_card(source.description, source.run, source.license).encode(),
    }
