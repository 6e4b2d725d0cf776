"""Pretrained backbones from timm's hub."""

from contextlib import suppress
from typing import Any

import timm
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

from padseg.errors import CheckpointError
from padseg.machine.console import say

_FILES = ("model.safetensors", "pytorch_model.bin")  # in this order, timm looks for them
_TIMEOUT = 10.0  # seconds until the hub counts as out of reach


def load_from_hub(name: str, option: str, **options: Any) -> nn.Module:
    """Build a backbone with pretrained weights, which are downloaded unless they are in the cache.

    Args:
        name: timm tag of the backbone.
        option: the option for a weight file, for the message.
        options: of timm, such as the indices of the levels.

    Raises:
        CheckpointError: the hub is out of reach, or has no weights of this tag.
    """
    try:
        _reach(name)
        net: nn.Module = timm.create_model(name, features_only=True, pretrained=True, **options)
    except Exception as error:  # the network, the cache, the disk, or a tag without weights
        raise CheckpointError(
            f"the pretrained weights of {name} cannot be downloaded from the timm hub, "
            f"{constants.ENDPOINT} ({type(error).__name__}); give a local file with {option}."
        ) from error
    return net


def _reach(name: str) -> None:
    """Announce a download and ask for the file once; timm and the hub's client would retry for minutes."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return
    repository, _, revision = config.hf_hub_id.partition("@")
    files = [config.hf_hub_filename] if config.hf_hub_filename else _FILES
    of = {"revision": revision or None}
    if any(isinstance(try_to_load_from_cache(repository, file, **of), str) for file in files):
        return
    say(f"Downloading the weights of {name} from {constants.ENDPOINT}/{repository}.")
    with suppress(EntryNotFoundError):  # timm looks for the other one
        get_hf_file_metadata(hf_hub_url(repository, files[0], **of), timeout=_TIMEOUT)
