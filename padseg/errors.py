"""Errors that padseg raises when the input is wrong, not the program.

Each message is one sentence that names the file or option, what is wrong with it and what to do. The
command line prints it without a traceback and exits with status 2.
"""

from collections.abc import Sequence
from difflib import get_close_matches

# In messages of torch and NumPy.
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "Unable to allocate", "out of memory")


class PadsegError(Exception):
    """A user's mistake or a broken input."""

    def __str__(self) -> str:
        """The sentence alone, without the traceback that a data worker passes on with it."""
        message = super().__str__()
        if message.startswith("Caught "):
            message = message.rpartition(f"{type(self).__name__}: ")[2].strip()
        return message


class ConfigError(PadsegError):
    """An option that cannot be used as given."""


class DataError(PadsegError):
    """A folder, image, mask or texture that is missing or broken."""


class CheckpointError(PadsegError):
    """A checkpoint or weight file that is missing, broken, unsafe or made for something else."""


class Interrupted(SystemExit):
    """The user interrupted the command from the keyboard; its status is what shells expect.

    Args:
        how_to_resume: The end of the message.
    """

    def __init__(self, how_to_resume: str) -> None:
        super().__init__(f"padseg: interrupted; {how_to_resume}.")
        self.code = 130  # otherwise the message, with status 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out, on the CPU or a device, by the type of the error or by its words."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 image`, `2 images`.

    Args:
        number: How many.
        noun: The noun for one.
        plural: The noun for several; None to add an s.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def did_you_mean(option: str, known: Sequence[str]) -> str:
    """A question about the known option that a mistyped one resembles; empty if there is none.

    Args:
        option: Without the two hyphens, as are the known ones.
        known: The options; one in a group, such as `data.root`, is found by its last part as well.
    """
    of_group = [name for name in known if name.endswith(f".{option}")]
    nearest = [*of_group, *get_close_matches(option, known, n=1, cutoff=0.8)]
    return f" Did you mean --{nearest[0]}?" if nearest else ""
