"""Options as checkpoints hold them, and what a resumed training makes of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from padseg.errors import CheckpointError, ConfigError


def plain(option: Any) -> Any:
    """An option as a checkpoint gives it back: tuples are lists, NumPy's numbers are Python's."""
    if isinstance(option, dict):
        return {name: plain(value) for name, value in option.items()}
    if isinstance(option, tuple | list):
        return [plain(value) for value in option]
    return option.item() if isinstance(option, np.generic) else option


def one_of(option: str, value: str, known: Iterable[str]) -> None:
    """Refuse a name that an option does not know.

    Raises:
        ConfigError: The value is not among those known.
    """
    if value not in (names := tuple(known)):
        raise ConfigError(f"{option} is {value!r}; give one of {', '.join(names)}.")


def check_seed(option: str, seed: int) -> None:
    """Refuse what NumPy cannot be seeded with.

    Raises:
        ConfigError: It is negative, or needs more than 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"{option} is {seed}; it must be from 0 to {2**32 - 1}.")


def refuse_others(room: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Let a training go on only as it began.

    Args:
        room: Whose options they are, `model` or `data`.
        before: Of the checkpoint; what is not among those of now is left out.
        now: The same, as they are configured.

    Raises:
        CheckpointError: One differs.
    """
    for name in before.keys() & now.keys():
        if plain(before[name]) != plain(now[name]):
            raise CheckpointError(
                f"the checkpoint was trained with --{room}.{name} {before[name]}, not {now[name]}: a "
                "training goes on as it began; start another one for other options."
            )
