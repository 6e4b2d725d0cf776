"""The optimiser of a training, and its schedule."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter

from padseg.errors import ConfigError
from padseg.modules.base import AnomalyModule


def refuse_frozen(parameters: Iterable[Parameter]) -> None:
    """Reject a training without anything to train.

    Raises:
        ConfigError: All parameters are frozen.
    """
    if not any(parameter.requires_grad for parameter in parameters):
        raise ConfigError(
            "every parameter is frozen, so nothing would be trained: leave out module.freeze(), or build the module "
            "again."
        )


def build_optimizer(module: AnomalyModule, groups: list[dict[str, Any]]) -> OptimizerLRScheduler:
    """The system's optimiser, and its schedule over the steps of the training.

    Args:
        module: The module, with its Trainer, if there is one.
        groups: `params` with an `lr` each, as torch takes them; groups without any are left out.

    Raises:
        ConfigError: A rate, the momentum or the weight decay is out of its range, a schedule has no end, or all is
            frozen.
    """
    refuse_frozen(parameter for group in groups for parameter in group["params"])
    if not (lowest := min(group["lr"] for group in groups)) >= 0:
        raise ConfigError(f"a learning rate is {lowest}; it must not be negative.")
    if not 0 <= (momentum := module.hparams["momentum"]) < 1:
        raise ConfigError(f"--model.momentum is {momentum}; it must be from 0 to below 1.")
    if not (decay := module.hparams["weight_decay"]) >= 0:
        raise ConfigError(f"--model.weight_decay is {decay}; it must not be negative.")
    # One pass over the weights instead of one for each operation, with the same bits on a CPU.
    fused = module.device.type in ("cpu", "cuda")
    trainer = module._trainer
    if trainer is not None:
        # Lightning does not clip gradients of fused optimisers in mixed precision, and a first step that
        # overflows in float16 would leave it with momentum from uninitialised memory (PyTorch 2.15).
        clips = trainer.gradient_clip_val is not None
        fused = fused and not clips and trainer.precision != "16-mixed"
    given = [group for group in groups if group["params"]]
    optimizer = module.parts.optimizer(given, momentum=momentum, weight_decay=decay, fused=fused)
    if module.parts.schedule is None:
        return optimizer
    if module.trainer.max_steps < 1:
        raise ConfigError(
            f"--trainer.max_steps is -1; the schedule of {module.parts.title} must know its last step."
        )
    schedule = module.parts.schedule(optimizer, int(module.trainer.estimated_stepping_batches))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
