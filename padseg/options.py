"""Checks of options, and options as checkpoints store them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from padseg.errors import CheckpointError, ConfigError


def as_stored(option: Any) -> Any:
    """An option as a checkpoint returns it: tuples become lists, NumPy numbers become Python numbers."""
    if isinstance(option, dict):
        return {name: as_stored(value) for name, value in option.items()}
    if isinstance(option, tuple | list):
        return [as_stored(value) for value in option]
    return option.item() if isinstance(option, np.generic) else option


def one_of(option: str, value: str, known: Iterable[str]) -> None:
    """Reject a value that is not among the names that an option accepts.

    Raises:
        ConfigError: The value is not one of the names.
    """
    if value not in (names := tuple(known)):
        raise ConfigError(f"{option} is {value!r}; give one of {', '.join(names)}.")


def is_zero(value: Any) -> bool:
    """Whether an option is the number zero, as a number or as the text of a command line."""
    try:
        return value is not None and float(value) == 0
    except (TypeError, ValueError):  # Lightning will explain what it takes
        return False


def refuse_set(given: Iterable[str], reasons: Mapping[str, str]) -> None:
    """Reject options of `fit` that a command sets itself.

    Args:
        given: The options, without the two hyphens.
        reasons: From such an option to what to use instead, or to what sets it.

    Raises:
        ConfigError: An option, or the group that it belongs to, is among the reasons.
    """
    for option in given:
        for name, reason in reasons.items():
            if option == name or option.startswith(f"{name}."):
                raise ConfigError(f"--{option} cannot be set here: {reason}.")


def check_range(option: str, value: int | None, lowest: int, highest: int) -> None:
    """Reject a number that an option does not accept; None is not checked.

    Raises:
        ConfigError: It is below the lowest or above the highest one.
    """
    if value is not None and not lowest <= value <= highest:
        raise ConfigError(f"{option} is {value}; it must be from {lowest} to {highest}.")


def check_seed(option: str, seed: int) -> None:
    """Reject a seed that NumPy does not accept.

    Raises:
        ConfigError: It is negative, or needs more than 32 bits.
    """
    check_range(option, seed, 0, 2**32 - 1)


def refuse_changed_options(group: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Reject options that differ from those with which a training began.

    Args:
        group: Of the options, `model` or `data`.
        before: Those of the checkpoint; names that are not in `now` are ignored.
        now: Those of the configuration.

    Raises:
        CheckpointError: An option differs.
    """
    for name in before.keys() & now.keys():
        if as_stored(before[name]) != as_stored(now[name]):
            raise CheckpointError(
                f"the checkpoint was trained with --{group}.{name} {before[name]}, not {now[name]}: "
                "resume with the same options, or start another training."
            )
