"""The command line: finds the command, and turns a user's mistake into one sentence.

Nothing heavy is imported before a command needs it, so that `--help` and `--version` answer at once.
"""

import argparse
import atexit
import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from padseg import __version__
from padseg.commands import (
    app,
    calibrate,
    check,
    demo,
    detect,
    download,
    export,
    preview,
    report,
    run,
    train,
)
from padseg.commands.arguments import parse
from padseg.commands.lightning_help import help_text
from padseg.errors import Interrupted, PadsegError, is_out_of_memory
from padseg.machine.console import escape_output
from padseg.machine.files import CANNOT_WRITE
from padseg.names import SYSTEM_NAMES
from padseg.plugins import load_plugin

# As `padseg --help` lists them.
COMMANDS = (train, run, demo, preview, check, download, detect, app, calibrate, report, export)
_OF_DATA = ("preview", "check", "download")  # without networks
LIGHTNING_COMMANDS = {
    "fit": "train a module, as its configuration says",
    "validate": "score the held-out images",
    "test": "compute all metrics on the test images",
    "predict": "score the test images",
}


def main(args: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit status: 0 when the work was done, 2 for a user's mistake, 130 after an interruption.
    """
    escape_output()
    how_to_resume = "start it again"
    try:
        if args and args[0] in LIGHTNING_COMMANDS and {"-h", "--help"} & set(args):
            print(help_text(args[0], LIGHTNING_COMMANDS[args[0]]), end="")
        elif args and args[0] in LIGHTNING_COMMANDS:
            _import_libraries(args[0])
            from padseg.lightning_cli import cli as lightning_cli

            lightning_cli.main(["--help" if arg == "--help=all" else arg for arg in args])
        else:
            options = parse(parser(), args)
            how_to_resume = options.how_to_resume
            _import_libraries(options.command)
            load_plugin(options.plugin)
            with _memory_errors_explained(
                "lower --batch-size" if "batch_size" in options else "close other programs"
            ):
                options.execute(options)
    except PadsegError as error:
        return _fail(str(error))
    except Interrupted as end:
        return _say_and_return(str(end), 130)
    except KeyboardInterrupt:
        return _say_and_return(str(Interrupted(how_to_resume)), 130)
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has seen enough; Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        where = error.filename2 or error.filename or "a file"
        return _fail(
            f"{where} cannot be opened or written ({error.strerror}): make room, give access to it or "
            "name another."
        )
    return 0


def _import_libraries(command: str) -> None:
    """Import PyTorch and the like without the garbage collector, and hide from it what they brought.

    It would go through half a million objects again and again, and they all stay.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        importlib.import_module("padseg.data" if command in _OF_DATA else "padseg.inference")
    finally:
        gc.freeze()
        gc.enable()
        if sys.version_info >= (3, 12):
            atexit.register(_thaw)


def _thaw() -> None:
    """Let the exit free what is hidden from the garbage collector, lest Triton report its part as leaked."""
    gc.unfreeze()
    gc.disable()  # once is enough, after the modules are gone


@contextmanager
def _memory_errors_explained(what_to_do: str) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise PadsegError(f"there is not enough memory: {what_to_do}.") from error


def _fail(message: str) -> int:
    return _say_and_return(f"padseg: error: {message}", 2)


def _say_and_return(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    """The parser of the commands that are not Lightning's own."""
    top = argparse.ArgumentParser(
        prog="padseg",
        description=f"Student-teacher visual anomaly detection. Systems: {', '.join(SYSTEM_NAMES)}.",
        epilog="padseg COMMAND --help explains a command.",
    )
    top.add_argument("--version", action="version", version=f"padseg {__version__}")
    top.set_defaults(options_of_fit=(), plugin=None, how_to_resume="start it again")
    commands = top.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command"
    )
    for command in COMMANDS:
        command.add_parser(commands)
    for name, text in LIGHTNING_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return top
