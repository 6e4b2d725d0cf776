"""Arguments that several commands take."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from padseg.errors import ConfigError, did_you_mean
from padseg.machine.files import expanded
from padseg.names import DEFAULT_SYSTEM, LAYOUT_NAMES, SYSTEM_NAMES
from padseg.plugins import PLUGIN_HELP

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
# Options of `fit` as written, with their values; None without one.
_Given = list[tuple[str, str | None]]


def expanded_path(text: str) -> Path:
    """A path; shells do not expand the `~` in `--out=~/runs`.

    Raises:
        ArgumentTypeError: As `path_or_pattern`.
    """
    return expanded(path_or_pattern(text))


def path_or_pattern(text: str) -> str:
    """A path or a pattern, as it is.

    Raises:
        ArgumentTypeError: The text is empty, which would mean the working folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a path")
    return text


def add_categories(parser: argparse.ArgumentParser) -> None:
    """One or more categories of a data set."""
    add_data_set(parser)
    parser.add_argument(
        "--category",
        type=lambda name: Path(name).as_posix(),  # shells complete ./bottle/
        nargs="+",
        required=True,
        help="categories in it",
    )


def add_data_set(parser: argparse.ArgumentParser) -> None:
    """The folder of a data set, and its layout."""
    parser.add_argument("--root", type=expanded_path, required=True, help="folder of the data set")
    parser.add_argument(
        "--layout",
        default="mvtec",
        help=f"layout of the data set: {', '.join(LAYOUT_NAMES)}, or a plugin's (default: mvtec)",
    )
    add_plugin(parser)


def add_system(parser: argparse.ArgumentParser) -> None:
    """A system, by default padseg's own."""
    parser.add_argument(
        "--system",
        default=DEFAULT_SYSTEM,
        help=f"{', '.join(SYSTEM_NAMES)}, or a plugin's (default: {DEFAULT_SYSTEM})",
    )


def add_textures(parser: argparse.ArgumentParser, without: str) -> None:
    """The folder of textures for synthetic defects; the help tells what happens `without` one."""
    parser.add_argument(
        "--textures",
        type=expanded_path,
        help=f"folder of textures for synthetic defects, such as dtd/images ({without})",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """A checkpoint, as a positional argument."""
    parser.add_argument(
        "checkpoint", type=expanded_path, metavar="CKPT", help="checkpoint of a training"
    )
    add_plugin(parser)


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """A module to import before the command does its work."""
    parser.add_argument("--plugin", metavar="MODULE", help=PLUGIN_HELP)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Whether to say nothing but warnings and errors."""
    parser.add_argument(
        "--quiet", action="store_true", help="print nothing but warnings and errors"
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """The options of a training, also those that `fit` takes."""
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=(),
        help="steps of each phase (default: the recipe's)",
    )
    parser.add_argument("--batch-size", type=int, help="images per step (default: the recipe's)")
    parser.add_argument(
        "--precision", help="such as 32-true (default: bf16-mixed where it is fast)"
    )
    parser.add_argument(
        "--weights",
        type=lambda text: str(expanded_path(text)),
        help="the teacher's weight file (default: timm's hub)",
    )
    groups = ("model", "data", "trainer", "checkpoint", "evaluation", "thresholds", "compile")
    parser.set_defaults(options_of_fit=groups)
    add_quiet(parser)


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line.

    A command takes options of `fit`, such as `--model.KEY VALUE`, of the groups in its default `options_of_fit`.

    Returns:
        What argparse returns, with the options of `fit` as `overrides`, from `model.KEY` to the value.

    Raises:
        ConfigError: The command has no such option.
    """
    of_fit, own = _split_options_of_fit(arguments)
    options, unknown = parser.parse_known_args(own)
    others = [(word, None) for word in unknown if not _is_option_of_fit(word)]
    overrides: dict[str, str] = {}
    for word, value in [*others, *of_fit]:
        key = word.removeprefix("--").partition("=")[0]
        if not _is_option_of_fit(word) or key.partition(".")[0] not in options.options_of_fit:
            kind = "option" if word.startswith("-") else "argument"
            raise ConfigError(
                f"unknown {kind} {word!r}: see padseg {options.command} --help."
                + did_you_mean(key.replace("_", "-"), _own_options(parser, options.command))
            )
        if value is None:
            raise ConfigError(f"option {word} needs a value.")
        if key in overrides and key.endswith("+"):
            raise ConfigError(f"option --{key} is given twice: give all values in one list.")
        overrides[key] = value
    options.overrides = overrides
    return options


def _own_options(parser: argparse.ArgumentParser, command: str) -> list[str]:
    """The options of a command, without the hyphens before them; argparse lists them nowhere in public."""
    (commands,) = (of for of in parser._actions if isinstance(of, argparse._SubParsersAction))
    return [name.lstrip("-") for name in commands.choices[command]._option_string_actions]


def _split_options_of_fit(arguments: Sequence[str]) -> tuple[_Given, list[str]]:
    """The options of `fit`, and all other arguments.

    argparse would take the value of an option that it does not know for a positional argument. The names of
    the options stay among the others, since they end the values of the option before them.
    """
    of_fit: _Given = []
    own: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":  # only positional arguments follow
            return of_fit, [*own, word, *left]
        if not _is_option_of_fit(word):
            own.append(word)
            continue
        value: str | None
        key, equals, value = word.partition("=")
        own.append(key)
        if not equals:
            value = left.pop(0) if left and not left[0].startswith("--") else None
        of_fit.append((word, value))
    return of_fit, own


def _is_option_of_fit(word: str) -> bool:
    return word.startswith("--") and "." in word.partition("=")[0]
