"""What a training may resume from."""

from collections.abc import Mapping
from typing import Any

from lightning import Trainer

from padseg.errors import CheckpointError
from padseg.modules.checkpoint import Checkpoint
from padseg.modules.header import Header
from padseg.options import refuse_changed_options


def refuse_other_training(
    checkpoint: Checkpoint, arguments: Mapping[str, Any], trainer: Trainer
) -> None:
    """Reject a checkpoint of weights alone, or of a training with other options than the one that would go on.

    Args:
        checkpoint: What Lightning has read.
        arguments: Of the module that would go on.
        trainer: Its Trainer.

    Raises:
        CheckpointError: As above.
    """
    if "optimizer_states" not in checkpoint:
        raise CheckpointError(
            "the checkpoint holds weights alone, as that of a best step or of a finished run does, so no training can "
            "resume from it: pass the last.ckpt of the training as --ckpt_path."
        )
    header, precision = Header.from_checkpoint(checkpoint), str(trainer.precision)
    before = dict(header.hyper_parameters)
    if "network" in before:  # with options that padseg did not have yet
        before["network"] = header.network.to_dict()
    refuse_changed_options("model", before, arguments)
    if header.precision not in (None, precision):
        raise CheckpointError(
            f"the checkpoint was trained in {header.precision}, not {precision}: "
            f"pass --trainer.precision {header.precision}."
        )
