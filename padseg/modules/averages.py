"""The weights being trained, which Lightning's averages of weights replace at the end of a training."""

import copy
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class ResumableAverages(Callback):
    """Lets a training with averages go on from any of its checkpoints.

    At the end, Lightning copies the averages into the module, before the last checkpoint is written. That would
    hold the averages twice, and a training that stopped early, or gets more steps, would go on from them.

    A module brings this callback along to a Trainer that averages.
    """

    def __init__(self) -> None:
        self._trained: dict[str, Tensor] | None = (
            None  # the weights being trained, between two epochs
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights: a training that was finished before ends here, without an epoch."""
        self._trained = copy.deepcopy(pl_module.state_dict())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard them, because they change now."""
        self._trained = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights before the training ends, which replaces them by the averages."""
        self._trained = copy.deepcopy(pl_module.state_dict())

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the weights being trained, from which Lightning resumes, beside the averages."""
        if self._trained is not None and "current_model_state" in checkpoint:
            checkpoint["current_model_state"] = self._trained
