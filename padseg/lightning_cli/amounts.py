"""Options of the Trainer that cannot be zero."""

from collections.abc import Mapping
from typing import Any

from padseg.errors import ConfigError
from padseg.options import is_zero

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
