"""What a training may resume from."""

from collections.abc import Mapping
from typing import Any

from padseg.errors import CheckpointError
from padseg.modules.header import Header
from padseg.options import refuse_changed_options


def refuse_other_training(header: Header, arguments: Mapping[str, Any], precision: str) -> None:
    """Reject a checkpoint whose training had other options than the one that would resume from it.

    Args:
        header: Of the checkpoint.
        arguments: Of the module that would go on.
        precision: That of its Trainer.

    Raises:
        CheckpointError: As above.
    """
    before = dict(header.hyper_parameters)
    if "network" in before:  # with options that padseg did not have yet
        before["network"] = header.network.to_dict()
    refuse_changed_options("model", before, arguments)
    if header.precision not in (None, precision):
        raise CheckpointError(
            f"the checkpoint was trained in {header.precision}, not {precision}: "
            f"pass --trainer.precision {header.precision}."
        )
