"""What Lightning's averages of weights leave out: the weights being trained, and those that are not trained."""

import copy
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from padseg.models import Normalize, StudentTeacher, Teacher
from padseg.modules.trainer_parts import callbacks_of


class ResumableAverages(Callback):
    """Lets a training with averages go on exactly from any of its checkpoints, with frozen parts as they are.

    At the end, Lightning copies the averages into the module, before the last checkpoint is written. That would
    hold the averages twice, and a training that stopped early, or gets more steps, would go on from them.

    A module brings this callback along to a Trainer that averages.
    """

    def __init__(self) -> None:
        # The weights being trained, while no batch is.
        self._trained: dict[str, Tensor] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave frozen parts out of the averages, which `WeightAveraging.setup` has begun."""
        for averaging in callbacks_of(trainer, WeightAveraging):
            assert averaging._average_model is not None
            _leave_out_frozen(averaging._average_model)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Discard them, because they change now; a training that resumes amid an epoch does not start one."""
        self._trained = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights before the training ends, which replaces them by the averages."""
        self._trained = copy.deepcopy(pl_module.state_dict())

    on_train_start = on_train_epoch_end  # a training that was finished before ends here

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the weights being trained, from which Lightning resumes, beside the averages."""
        if self._trained is not None and "current_model_state" in checkpoint:
            checkpoint["current_model_state"] = self._trained


def _leave_out_frozen(averages: AveragedModel) -> None:
    """Let averages begin with frozen weights and keep them: the mean of equal numbers may differ by rounding."""
    frozen = {
        tensor.data_ptr()
        for part in filter(_is_frozen, averages.module.modules())
        for tensor in (*part.parameters(), *part.buffers())
    }
    one, several = averages.avg_fn, averages.multi_avg_fn
    if one is not None:
        averages.avg_fn = lambda old, new, count: (
            old if old.data_ptr() in frozen else one(old, new, count)
        )
    if several is not None:

        def average(old: Any, new: Any, count: Any) -> None:
            pairs = zip(old, new, strict=True)
            changing = [pair for pair in pairs if pair[0].data_ptr() not in frozen]
            if changing:
                several([pair[0] for pair in changing], [pair[1] for pair in changing], count)

        averages.multi_avg_fn = average


def _is_frozen(part: nn.Module) -> bool:
    """Whether it never changes: a teacher, constants, or, in phase two, all that phase one has made."""
    if isinstance(part, StudentTeacher):
        return not any(parameter.requires_grad for parameter in part.parameters())
    return isinstance(part, Teacher | Normalize)
