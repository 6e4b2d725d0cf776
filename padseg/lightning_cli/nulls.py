"""Options of the model that are null and need a value; the parser takes null for any of them."""

import importlib
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from padseg.errors import ConfigError


def refuse_nulls(class_path: str, options: Mapping[str, Any]) -> None:
    """Reject nulls among the arguments of a class that take none.

    Args:
        class_path: The class, with its module.
        options: The arguments by name.

    Raises:
        ConfigError: An argument is null.
    """
    module, _, name = class_path.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name), eval_str=True)
    for argument, parameter in signature.parameters.items():
        is_null = argument in options and options[argument] is None
        if is_null and parameter.default is not None and not _takes_none(parameter.annotation):
            raise ConfigError(f"--model.{argument} is null; give a value, or leave it out.")


def _takes_none(hint: Any) -> bool:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return hint in (Any, None, inspect.Parameter.empty) or (
        is_union and type(None) in typing.get_args(hint)
    )
