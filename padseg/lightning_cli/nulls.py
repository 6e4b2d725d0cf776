"""Options of classes that are null and need a value; the parser takes null for any of them."""

import importlib
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from padseg.errors import ConfigError


def class_of(options: Any) -> type:
    """The class that the parser's `class_path` names."""
    module, _, name = options.class_path.rpartition(".")
    kind: type = getattr(importlib.import_module(module), name)
    return kind


def refuse_nulls(group: str, kind: type, options: Mapping[str, Any]) -> None:
    """Reject nulls among the arguments of a class that take none.

    Args:
        group: Of the options, such as `model`.
        kind: The class.
        options: The arguments by name.

    Raises:
        ConfigError: An argument is null.
    """
    for argument, parameter in inspect.signature(kind, eval_str=True).parameters.items():
        is_null = argument in options and options[argument] is None
        if is_null and parameter.default is not None and not _takes_none(parameter.annotation):
            raise ConfigError(f"--{group}.{argument} is null; give a value, or leave it out.")


def _takes_none(hint: Any) -> bool:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return hint in (Any, None, inspect.Parameter.empty) or (
        is_union and type(None) in typing.get_args(hint)
    )
