"""Files that are written completely or not at all."""

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

# Errors of the operating system if a file or folder cannot be written at present.
CANNOT_WRITE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
)


@contextmanager
def written_whole(
    path: Path, temporary: Path | None = None, durable: bool = True
) -> Iterator[Path]:
    """Write a file under another name; at the end of the block it replaces `path` atomically.

    Args:
        path: The file; its folder is created if it does not exist.
        temporary: The other name, in the same folder. The default is a new one each time, so that any
            number of processes, on several machines too, may write the same file.
        durable: Wait until the file is on the disk, so that it is complete even after a power failure.

    Yields:
        Where to write it, with the suffix of `path`.

    Raises:
        OSError: It cannot be written; what was at `path` is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if temporary is None:
        temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        if durable:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def text_written_whole(path: Path) -> Iterator[TextIO]:
    """A text file to write to, which replaces the old one atomically at the end of the block."""
    with (
        written_whole(path) as temporary,
        # File names in it that are not UTF-8 keep their bytes.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file


def write_text(path: Path, text: str) -> None:
    """Write a text file, which replaces the old one atomically."""
    with text_written_whole(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes | memoryview, temporary: Path | None = None) -> None:
    """Write a file, which replaces the old one atomically; `temporary` as in `written_whole`."""
    with written_whole(path, temporary) as draft:
        draft.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, which replaces the old one atomically; its numbers are finite or null."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
