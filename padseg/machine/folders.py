"""Folders of results: for one process at a time, and for one set of options."""

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import filelock

from padseg.errors import ConfigError, PadsegError
from padseg.machine.files import CANNOT_WRITE, read_json, write_json

# Errors of the operating system if a drive, mostly one of the network, has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_HASH = re.compile("[0-9a-f]{64}")  # of files, SHA-256
_LOCK_FILE = ".lock"
OPTIONS_FILE = "options.json"  # what the results in a folder depend on


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is created if it does not exist.

    Raises:
        PadsegError: Another process uses it, or something cannot be written; or it was moved or deleted meanwhile.
    """
    inside, gone = False, False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            inside = True
            try:
                yield
            finally:
                gone = not (folder / _LOCK_FILE).exists()
    except filelock.Timeout as error:
        raise PadsegError(
            f"{folder} is in use by another process: wait, or pass another --out."
        ) from error
    except OSError as error:
        if gone and isinstance(error, FileNotFoundError):
            raise PadsegError(
                f"{folder} was moved or deleted while it was written: put it back, and the same command resumes "
                "from what is there, or repeat it to begin anew."
            ) from error
        if error.errno not in CANNOT_WRITE:
            raise
        named = [Path(name) for name in (error.filename, error.filename2) if name]
        if inside and named and not any(path.is_relative_to(folder) for path in named):
            # An input file: output lies in the folder.
            raise PadsegError(f"{named[0]} cannot be opened ({error.strerror}).") from error
        what = f"{named[0].name}: {error.strerror}" if inside and named else error.strerror
        raise PadsegError(
            f"{folder} cannot be written ({what}): make room or pass another --out; the same "
            "command resumes from what is there."
        ) from error


def _lock(folder: Path) -> AbstractContextManager[object]:
    try:
        return filelock.FileLock(folder / _LOCK_FILE).acquire(timeout=0)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        raise PadsegError(
            f"{folder} is on a drive without file locks ({error}): pass another --out."
        ) from error


def require_same_options(folder: Path, options: Mapping[str, Any], remedy: str) -> None:
    """Record in `options.json` what the results in a folder depend on, in plain values; later calls must agree.

    Raises:
        ConfigError: The folder holds results of other options, for which the message gives the remedy; or as
            `recorded_options`.
    """
    stored = recorded_options(folder)
    if stored is None:
        write_json(folder / OPTIONS_FILE, options)
        return
    before, now = flat_options(stored), flat_options(options)
    differing = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if differing:
        differences = ", ".join(
            _difference(key, before.get(key), now.get(key)) for key in differing
        )
        raise ConfigError(f"{folder} holds results of {differences}: {remedy}.")


def _difference(key: str, before: object, now: object) -> str:
    if all(isinstance(value, str) and _HASH.fullmatch(value) for value in (before, now)):
        return f"other {key} (changed since then)"
    return f"{key} {before!r:.60} (now {now!r:.60})"


def recorded_options(folder: Path) -> dict[str, Any] | None:
    """What `require_same_options` has recorded in a folder; None if it has not been called.

    Raises:
        ConfigError: The file is not padseg's, or broken.
    """
    path = folder / OPTIONS_FILE
    try:
        stored: Any = read_json(path)
    except FileNotFoundError:
        return None
    except ValueError:  # no JSON, or no text
        stored = None
    if isinstance(stored, dict):
        return stored
    raise ConfigError(f"{path} is not from padseg, or broken: move it, or pass another folder.")


def flat_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options on one level, named by group and option."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict):
            flat |= {f"{key} {name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


def differing_options(
    each: Sequence[Mapping[str, Any]], leave_out: AbstractSet[str] = frozenset()
) -> list[str]:
    """The names in which the options of several folders differ, as far as these recorded them."""
    flat = [flat_options(one) for one in each]
    return [
        key
        for key in sorted({key for one in flat for key in one} - leave_out)
        # Older versions recorded fewer options; overrides are recorded if given.
        if key.startswith("overrides ") or all(key in one for one in flat)
        if any(one.get(key) != flat[0].get(key) for one in flat)
    ]
