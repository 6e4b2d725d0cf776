"""The message and the exit status of an interrupted command."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException

from padseg.errors import Interrupted


@contextmanager
def exit_when_interrupted(how_to_resume: str | None = None) -> Iterator[None]:
    """End the process with a message; after SIGTERM too, where Lightning would end with status 0.

    Args:
        how_to_resume: The end of the message; None to name the checkpoint of the training, if there is one.

    Raises:
        Interrupted: The process was interrupted from the keyboard, or by SIGTERM, which ends with status 1.
    """
    try:
        yield
    except SIGTERMException as stop:
        message = f"padseg: stopped by SIGTERM; {how_to_resume or _how_to_resume(stop)}."
        raise SystemExit(message) from stop
    except KeyboardInterrupt as stop:
        raise Interrupted(how_to_resume or _how_to_resume(stop)) from stop
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):  # Lightning turns it into this
            raise
        raise Interrupted(how_to_resume or _how_to_resume(end.__context__)) from end


def _how_to_resume(stop: BaseException) -> str:
    """From the information that `ResumeCheckpoint` attached to the exception."""
    if not stop.args:
        return "start it again"
    return f"the same command with --ckpt_path {stop.args[0]} goes on from there"
