"""Refuses null for options of classes that need a value; the parser takes null for any of them."""

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from padseg.errors import ConfigError


def refuse_nulls(group: str, kind: type, options: Mapping[str, Any]) -> None:
    """Reject nulls among the options of a group, such as `model`, for arguments of its class that take none.

    Raises:
        ConfigError: An argument is null.
    """
    for argument, parameter in inspect.signature(kind, eval_str=True).parameters.items():
        is_null = argument in options and options[argument] is None
        if is_null and parameter.default is not None and not _takes_none(parameter.annotation):
            raise ConfigError(f"--{group}.{argument} is null; give a value, or leave it out.")


def _takes_none(hint: Any) -> bool:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    optional = is_union and type(None) in typing.get_args(hint)
    return optional or hint in (Any, None, inspect.Parameter.empty)
