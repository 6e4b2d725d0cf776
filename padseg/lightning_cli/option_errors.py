"""Errors that an option causes inside Lightning, jsonargparse or torch, in one sentence.

These libraries raise any kind of exception about a wrong option, wherever they notice it. What distinguishes
such an exception from a fault of padseg is where it comes from: padseg handed the options over, and the library
failed before it called padseg again.
"""

import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler

from padseg.errors import ConfigError, PadsegError, is_out_of_memory
from padseg.lightning_cli.wording import in_plain_words

_PACKAGE = Path(__file__).parents[1]
# Rooms that hand options over; an error below another room is a fault of that room.
_HANDING_OVER = ("__main__.py", "cli.py", "commands", "lightning_cli", "run", "demo", "training")
_LIBRARIES = ("lightning", "lightning_utilities", "jsonargparse")
_WRONG_CALL = re.compile(r"\(\) (got|missing|takes) ")
_INSTALLED = tuple(
    sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@contextmanager
def options_explained() -> Iterator[None]:
    """Turn an exception that an option causes into one sentence.

    Raises:
        ConfigError: An option cannot be used.
    """
    try:
        yield
    except PadsegError:
        raise
    except Exception as error:
        message = _explain(error)
        if message is None:
            raise
        raise ConfigError(message) from error


def _explain(error: BaseException) -> str | None:
    """The sentence for an exception that an option causes; None for a fault of a program."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    text = one_line(error) or "without a message"
    if isinstance(error, torch.OutOfMemoryError):
        return f"the device is out of memory: lower --data.batch_size ({text.partition('. ')[0]})."
    if is_out_of_memory(error):
        return "there is not enough memory: lower --data.batch_size, --model.image_size or the width of the network."
    if not isinstance(error, MisconfigurationException) and not _from_options(error):
        return None
    plain = isinstance(error, MisconfigurationException | ValueError | RuntimeError | ImportError)
    if "Union subtypes" in text:  # jsonargparse's
        text = in_plain_words(text, "fit")
    said = text if plain else f"{type(error).__name__}: {text}"
    return f"{_option(frames)}: {said}"


def one_line(error: BaseException) -> str:
    """The message of an exception, without line breaks."""
    return " ".join(str(error).split())


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that led to it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _from_options(error: BaseException) -> bool:
    """Whether a library failed on its own, before it called padseg or the user's code again."""
    # From another process, or about the arguments of a method that the library calls.
    if "Traceback (most recent call last)" in str(error) or _WRONG_CALL.search(str(error)):
        return False
    for cause in causes(error):
        frames = [frame for frame, _ in traceback.walk_tb(cause.__traceback__)]
        ours = [at for at, frame in enumerate(frames) if _room(frame) is not None]
        if any(_room(frames[at]) not in _HANDING_OVER for at in ours):
            return False
        after = frames[ours[-1] + 1 :] if ours else frames
        if not after:
            return False
        library = str(after[0].f_globals.get("__name__", "")).partition(".")[0]
        if ours and library not in _LIBRARIES:
            return False
        if not all(frame.f_code.co_filename.startswith((*_INSTALLED, "<")) for frame in after):
            return False
    return True


def _room(frame: FrameType) -> str | None:
    """The room of padseg, or its file, that a frame belongs to."""
    path = Path(frame.f_code.co_filename)
    return path.relative_to(_PACKAGE).parts[0] if path.is_relative_to(_PACKAGE) else None


def _option(frames: list[FrameType]) -> str:
    """The option whose object raised the error, as far as the frames show it."""
    for frame in reversed(frames):
        owner = frame.f_locals.get("self")
        name = type(owner).__name__
        if isinstance(owner, Logger):
            return f"--trainer.logger {name}"
        if isinstance(owner, Profiler):
            return f"--trainer.profiler {name}"
        if isinstance(owner, Callback):
            own = type(owner).__module__.startswith("padseg.")
            return "--checkpoint or --trainer.callbacks" if own else f"--trainer.callbacks {name}"
        if isinstance(owner, Trainer):
            return "--trainer"
    return "an option cannot be used"
