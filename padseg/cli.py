"""The command line: what each command takes, and which room does the work.

Nothing heavy is imported before a command needs it, so that `--help` and `--version` answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from padseg import __version__
from padseg.errors import ConfigError, PadsegError

LIGHTNING_COMMANDS = {
    "fit": "train a module, as its configuration says",
    "validate": "score the held-out images",
    "test": "compute all metrics on the test images",
    "predict": "score the test images",
}
SYSTEM_NAMES = ("stpm", "rstpm", "destseg", "pfadseg")


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit status: 0 when the work was done, 2 for a user's mistake.
    """
    args = list(argv)
    try:
        if args and args[0] in LIGHTNING_COMMANDS:
            from padseg import lightning_cli

            lightning_cli.main(args)
        else:
            options, rest = parser().parse_known_args(args)
            options.call(options, rest)
    except PadsegError as error:
        print(f"padseg: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the commands that are not Lightning's own."""
    top = argparse.ArgumentParser(
        prog="padseg",
        description="Student-teacher visual anomaly detection: STPM, RSTPM, DeSTSeg, PFADSeg.",
    )
    top.add_argument("--version", action="version", version=f"padseg {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands.add_parser("run", help="train, test and tabulate categories and seeds"))
    _add_demo(commands.add_parser("demo", help="see it all work on a small generated data set"))
    for name, text in LIGHTNING_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return top


def _add_run(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Trains both phases of a system on each category with each seed, tests, and tabulates. A "
        "second call resumes what was cut off and skips what is finished. Beside the options below, "
        "it takes --model.KEY, --data.KEY and --trainer.KEY as `fit` does; they want a --label."
    )
    command.add_argument("system", choices=SYSTEM_NAMES)
    command.add_argument("--root", type=Path, required=True, help="folder of the data set")
    command.add_argument("--category", nargs="+", required=True, help="categories in it")
    command.add_argument("--out", type=Path, required=True, help="folder for the results")
    command.add_argument("--textures", type=Path, help="folder of textures, such as dtd/images")
    command.add_argument("--seed", type=int, nargs="+", default=[0], help="seeds (default: 0)")
    command.add_argument(
        "--steps",
        type=int,
        nargs="+",
        help="optimiser steps of the distillation and of the segmentation (default: as published)",
    )
    command.add_argument("--batch-size", type=int, help="images a step (default: as published)")
    command.add_argument(
        "--precision", help="such as 32-true (default: bf16-mixed where it is fast)"
    )
    command.add_argument("--weights", help="the teacher's weight file (default: timm's hub)")
    command.add_argument("--label", help="name of the folder and the rows (default: the system)")
    command.add_argument(
        "--parallel", type=int, help="runs at a time on this machine (default: one a GPU)"
    )
    command.add_argument(
        "--shard", default="1/1", metavar="I/N", help="do the I-th of N equal parts of the runs"
    )
    command.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="run on a Ray cluster: this machine's (default), `local`, or one at an address",
    )
    command.set_defaults(call=_run)


def _run(options: argparse.Namespace, rest: list[str]) -> None:
    from padseg.run import RunOptions, run
    from padseg.schedule import parse_shard

    run(
        RunOptions(
            system=options.system,
            root=options.root,
            categories=tuple(options.category),
            out=options.out,
            textures=options.textures,
            seeds=tuple(options.seed),
            steps=tuple(options.steps or ()),
            batch_size=options.batch_size,
            precision=options.precision,
            weights=options.weights,
            label=options.label,
            overrides=_dotted(rest),
        ),
        parallel=options.parallel,
        shard=parse_shard(options.shard),
        ray=options.ray,
    )


def _dotted(rest: list[str]) -> dict[str, str]:
    """`--model.KEY VALUE` and the like, as a dict from `model.KEY` to the value."""
    overrides: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or key.split(".")[0] not in (
            "model",
            "data",
            "trainer",
            "checkpoint",
            "evaluation",
        ):
            raise ConfigError(f"unknown option {word!r}: see padseg run --help.")
        if not equals:
            following = next(words, None)
            if following is None:
                raise ConfigError(f"option {word} needs a value.")
            value = following
        overrides[key] = value
    return overrides


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Makes a small data set, trains DeSTSeg on it and tests: no network, about two minutes on two "
        "cores. A second call finds it finished."
    )
    command.add_argument(
        "--out", type=Path, default=Path("padseg_demo"), help="folder (default: padseg_demo)"
    )
    command.set_defaults(call=_demo)


def _demo(options: argparse.Namespace, rest: list[str]) -> None:
    from padseg.run import demo

    if rest:
        raise ConfigError(f"unknown option {rest[0]!r}: see padseg demo --help.")
    demo(options.out)
