"""What a training may resume from, and what a checkpoint tells of the images that were trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

from padseg.errors import CheckpointError, ConfigError
from padseg.modules.checkpoint import Checkpoint
from padseg.modules.header import DATA_KEY, Header
from padseg.modules.trainer_parts import callbacks_of, data_of
from padseg.options import refuse_changed_options


def refuse_other_training(
    checkpoint: Checkpoint, arguments: Mapping[str, Any], trainer: Trainer
) -> None:
    """Reject a checkpoint that a module with these arguments cannot go on from.

    Raises:
        CheckpointError: It holds weights alone, or is of a training with other options.
        ConfigError: A callback would discard the state of the training to try rates or batch sizes.
    """
    # The checkpoint to which the callback itself returns is hidden.
    if not Path(str(trainer.ckpt_path)).name.startswith("."):
        for finder in callbacks_of(trainer, LearningRateFinder, BatchSizeFinder):
            raise ConfigError(
                f"{type(finder).__name__} would begin a resumed training anew: leave it out, and set what it found."
            )
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


def store_data(
    checkpoint: Checkpoint, trained_on: Mapping[str, Any] | None, trainer: Trainer | None
) -> None:
    """Store the state of the data module that was trained on, which phase two and later checks need.

    Args:
        checkpoint: What will be written.
        trained_on: The state at the end of the module's training; None if it is unknown.
        trainer: The Trainer that writes it, if any.
    """
    state = None if trainer is None else trainer.state
    if state is None or state.fn != "fit" or state.status == "finished":
        checkpoint.pop(DATA_KEY, None)  # Lightning has stored the state of what was tested
        checkpoint.update({} if trained_on is None else {DATA_KEY: trained_on})
    elif (data := data_of(trainer)) is not None:
        # Lightning stores it under the name of its own class, which may be a user's.
        checkpoint.setdefault(DATA_KEY, data.state_dict())
