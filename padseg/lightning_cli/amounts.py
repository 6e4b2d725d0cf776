"""Amounts among the options of the Trainer: whole numbers and shares, and what cannot be zero."""

from collections.abc import Mapping
from typing import Any

from lightning import Trainer

from padseg.errors import ConfigError
from padseg.options import is_zero

Limit = int | float | None
# With a zero in one of these, the command would do nothing.
_AMOUNTS = {
    "fit": ("max_steps", "max_epochs"),
    "validate": ("limit_val_batches",),
    "test": ("limit_test_batches",),
    "predict": ("limit_predict_batches",),
}


def refuse_zeros(options: Mapping[str, Any], command: str | None) -> None:
    """Reject options of the Trainer with which a command would do nothing, or not what they say.

    Args:
        options: The options, by name.
        command: The Lightning subcommand; None for other callers.

    Raises:
        ConfigError: There is one.
    """
    for name in ("accumulate_grad_batches", "gradient_clip_val", "val_check_interval"):
        given = options.get(name)
        # Lightning would train nothing, clip nothing, or divide by zero.
        if isinstance(given, int | float) and not given > 0:
            raise ConfigError(f"--trainer.{name} is {given:g}; it must be positive.")
    for name in _AMOUNTS.get(str(command), ()):
        if is_zero(options.get(name)):
            raise ConfigError(
                f"--trainer.{name} is 0, so padseg {command} would do nothing: leave it out, or give another number."
            )


def build_trainer(
    limit_train_batches: Limit = None,
    limit_val_batches: Limit = None,
    limit_test_batches: Limit = None,
    limit_predict_batches: Limit = None,
    **options: Any,
) -> Trainer:
    """A Trainer, for whose limits the parser tries whole numbers first, so that 1 is one batch.

    By the Trainer's own signature it may be 1.0, which means all: to Python, Union[float, int] is the same type, which
    it caches (Lightning's issue 21259).

    Args:
        limit_train_batches: Batches to train on: float = fraction, int = number.
        limit_val_batches: Batches to validate on, likewise.
        limit_test_batches: Batches to test on, likewise.
        limit_predict_batches: Batches to predict, likewise.
        **options: See Lightning.
    """
    return Trainer(
        limit_train_batches=limit_train_batches,
        limit_val_batches=limit_val_batches,
        limit_test_batches=limit_test_batches,
        limit_predict_batches=limit_predict_batches,
        **options,
    )
