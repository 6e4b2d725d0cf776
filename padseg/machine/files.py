"""Files, written whole or not at all, and folders that one process has to itself."""

import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from padseg.errors import ConfigError, PadsegError

CANNOT_WRITE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; its numbers are finite or null."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, which replaces the old one at once."""
    # File names in it that are no UTF-8 keep their bytes.
    write_bytes(path, text.encode(errors="surrogateescape"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, which replaces the old one at once."""
    # Processes of several machines may write the same table.
    replace(path, path.with_name(f".{path.name}.{uuid.uuid4().hex}"), content)


def replace(path: Path, temporary: Path, content: bytes | memoryview) -> None:
    """Write a temporary file in the folder of `path`, then let it take its place at once.

    Raises:
        OSError: It cannot be written; what was at `path` is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made where it is missing.

    Raises:
        PadsegError: Another process is in it, or something cannot be written.
    """
    inside = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock", timeout=0):
            inside = True
            yield
    except filelock.Timeout as error:
        raise PadsegError(f"{folder} is in use by another process: wait, or pass --out.") from error
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        named = [Path(name) for name in (error.filename, error.filename2) if name]
        if inside and named and not any(path.is_relative_to(folder) for path in named):
            # An input: what is written lies in the folder, and a full disk names no file.
            raise PadsegError(f"{named[0]} cannot be opened ({error.strerror}).") from error
        raise PadsegError(
            f"{folder} cannot be written ({error.strerror}): make room or pass another --out; the same "
            "command goes on from what is there."
        ) from error


def claim(folder: Path, options: Mapping[str, Any], remedy: str) -> None:
    """Keep in `options.json` what the results in a folder depend on.

    Args:
        folder: The folder.
        options: What they depend on, in plain values.
        remedy: What to do if the folder holds others.

    Raises:
        ConfigError: It holds results that were made in another way.
    """
    path = folder / "options.json"
    if not path.exists():
        write_json(path, options)
        return
    there, asked = _flat(read_json(path)), _flat(options)
    differing = sorted(key for key in {*there, *asked} if there.get(key) != asked.get(key))
    if differing:
        told = ", ".join(
            f"{key} {there.get(key)!r:.60} (now {asked.get(key)!r:.60})" for key in differing
        )
        raise ConfigError(f"{folder} holds results of {told}: {remedy}.")


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options within options, each by its own name after that of all."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        inner = value if isinstance(value, dict) else None
        flat |= {key: value} if inner is None else {f"{key} {name}": inner[name] for name in inner}
    return flat
