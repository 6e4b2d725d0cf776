"""Complete command lines from the configurations that come with padseg and from checkpoints."""

from collections.abc import Collection
from itertools import islice
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from padseg.data.images import as_size
from padseg.errors import CheckpointError, ConfigError
from padseg.lightning_cli.recipes import packaged_config
from padseg.modules import Header, read_header
from padseg.modules.checkpoint import warn_of_subclass
from padseg.modules.header import STORED_WEIGHTS
from padseg.options import as_stored

# Values of --ckpt_path that Lightning resolves when a training goes on.
CHECKPOINT_KEYWORDS = ("best", "last", "hpc")


def complete_args(args: list[str]) -> list[str]:
    """Find the configurations that come with padseg, and let a checkpoint name its class.

    So `--config configs/destseg/distill.yaml` works in any folder, unless the folder itself has such a file,
    and `test --ckpt_path PATH` needs no configuration. Other options win over a configuration wherever it stands.

    Raises:
        ConfigError: A training would resume without the configuration with which it began.
    """
    args = _configs_first([_with_packaged_config(arg) for arg in args])
    options = [arg.split("=", maxsplit=1) for arg in args]
    names = [option[0] for option in options]
    configured = "--config" in names or "-c" in names
    if "--ckpt_path" not in names or "--model" in names or (configured and args[0] == "fit"):
        return args
    at = names.index("--ckpt_path")
    path = options[at][1] if len(options[at]) == 2 else (args[at + 1 :] or [""])[0]
    if args[0] == "fit":
        raise ConfigError(
            "--config is not set, and a checkpoint does not hold the recipe: to resume, repeat the command that "
            "started the training and add --ckpt_path."
        )
    if path in ("", *CHECKPOINT_KEYWORDS):
        raise ConfigError(not_a_path(path))
    # First, because the class determines the options of the model.
    return [args[0], "--model", f"padseg.modules.{read_header(path).class_name}", *args[1:]]


def _configs_first(args: list[str]) -> list[str]:
    """Move the configurations, in their order, behind the command: the parser needs the class before its options."""
    first, others = args[:1], []
    left = iter(args[1:])
    for arg in left:
        option, equals, _ = arg.partition("=")
        if option not in ("--config", "-c"):
            others.append(arg)
            continue
        first.append(arg)
        if not equals:
            first.extend(islice(left, 1))
    return [*first, *others]


def not_a_path(given: str) -> str:
    """The message for a --ckpt_path of a scoring command that names no file."""
    return f"--ckpt_path is {given!r}; pass the path of a checkpoint, such as segment.ckpt."


def _with_packaged_config(arg: str) -> str:
    option, equals, name = arg.rpartition("=")
    path = packaged_config(name) if option in ("", "--config") else None
    return arg if path is None or Path(name).exists() else f"{option}{equals}{path}"


def take_from_checkpoint(
    model: Any, path: str, header: Header, command: str, given: Collection[str]
) -> None:
    """Set the options of the configured model to those of the checkpoint.

    Args:
        model: `class_path` and `init_args` as the parser returns them; changed in place.
        path: The checkpoint.
        header: Its header.
        command: `fit` takes only options that are not set, because a training rejects other options than
            those with which it began. The other commands take all.
        given: Names of the model's options on the command line.

    Raises:
        CheckpointError: The checkpoint is of another class than the configuration.
        ConfigError: An option of the command line differs from the checkpoint's.
    """
    kind = resolve_name(model.class_path)
    if header.class_name not in {base.__name__ for base in kind.__mro__}:
        raise CheckpointError(
            f"--ckpt_path {path} is a checkpoint of {header.class_name}, but the configured model is "
            f"{kind.__name__}: to hand phase one over to phase two, use --model.distilled."
        )
    if kind.__module__.startswith("padseg."):
        warn_of_subclass(header, path)
    for key, stored in header.hyper_parameters.items():
        configured = model.init_args.get(key)
        if key == "image_size" and configured is not None:
            configured = as_size(configured)
        # The source of the initial weights does not matter any more: the checkpoint contains the weights.
        inside = key in ("distilled", "network") or stored == STORED_WEIGHTS
        if key in given and not inside and as_stored(configured) != as_stored(stored):
            raise ConfigError(
                f"--model.{key} is {as_stored(configured)}, but {path} was made with {stored}: leave the "
                "option out."
            )
        if inside or command != "fit" or configured is None:
            model.init_args[key] = stored
