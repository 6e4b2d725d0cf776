"""Files that are written completely or not at all."""

import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TextIO

# Errors of the operating system if the whole disk or folder cannot be written at present.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Errors of the operating system if a file or folder cannot be opened or written.
CANNOT_WRITE = (
    *NO_ROOM,
    *(errno.EACCES, errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EINVAL),
    *(errno.EFBIG, errno.EIO, errno.EBUSY, errno.ETXTBSY, errno.ESTALE),
)
_MOST_BYTES = 200  # of a short name
_NAME_KEPT = 50  # characters, so that the name of a draft stays below the 255 bytes of file systems


@contextmanager
def written_whole(path: Path, durable: bool = True, draft: str | None = None) -> Iterator[Path]:
    """Write a file under another name; at the end of the block it replaces `path` atomically.

    Where `path` is a link, the file that it leads to is replaced and the link stays. The new file has the
    permissions of the old one.

    Args:
        path: The file; its folder is created if it does not exist.
        durable: Wait until the file is on the disk, so that it is complete even after a power failure.
        draft: The other name. The default is a new one each time, so that any number of processes, on
            several machines too, may write the same file.

    Yields:
        Where to write it, with the suffix of `path`.

    Raises:
        OSError: It cannot be written or is read-only; what was at `path` is still there.
    """
    target = _replaceable(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    name = f".{uuid.uuid4().hex[:8]}-{target.name[-_NAME_KEPT:]}" if draft is None else draft
    temporary = target.with_name(name)
    try:
        yield temporary
        if durable:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        if target.exists():
            _copy_access(target, temporary)
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        # Report the target; the user does not know the draft's name.
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise


def require_writable(path: Path) -> None:
    """Reject a file that `written_whole` would refuse to replace.

    Raises:
        OSError: It or its folder is read-only, or it is a folder or another thing that is not a file.
    """
    _replaceable(path)


def _replaceable(path: Path) -> Path:
    """The file that `path` stands for, behind all links."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, "it is a link to itself", str(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if target.parent.exists() and not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "its folder is read-only", str(path))
    if not target.exists():
        return target
    mode = target.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not an ordinary file", str(path))
    # The mode as well, because root may write everything.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", str(path))
    return target


def _copy_access(source: Path, target: Path) -> None:
    """Give a file the owner, group and permissions of another one, as far as this user and the drive may."""
    status = source.stat()
    # Some network drives and containers know no owners or permissions.
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(target, status.st_uid, status.st_gid)
    with suppress(OSError):
        target.chmod(stat.S_IMODE(status.st_mode))


def reserve(path: Path, size: int) -> None:
    """Create a file whose space is allocated: a mapped file on a full disk would kill the process.

    Raises:
        OSError: There is no room, or the file cannot be written.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        elif shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        else:
            file.truncate(size)


def short_name(name: str) -> str:
    """The first bytes of a name; file systems allow 255, of which suffixes need some."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _MOST_BYTES else encoded[:_MOST_BYTES].decode(errors="ignore")


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


def write_bytes(path: Path, content: bytes | memoryview, draft: str | None = None) -> None:
    """Write a file, which replaces the old one atomically; `draft` as in `written_whole`."""
    with written_whole(path, draft=draft) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, which replaces the old one atomically; its numbers are finite or null."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def leads_out(path: str) -> bool:
    """Whether a path, with slashes or backslashes, may lead out of the folder that it is appended to, on any system."""
    inside = PurePosixPath(path.replace("\\", "/"))
    return inside.is_absolute() or ".." in inside.parts or bool(PureWindowsPath(inside).drive)


def absolute(path: str | Path) -> Path:
    """The absolute path without `..`, which `Path.absolute` keeps; links stay, which `resolve` would follow.

    Links before a `..` are followed, since it leads to the folder above where they end.
    """
    parts = Path(path).parts
    if ".." in parts:
        after = len(parts) - parts[::-1].index("..")
        path = Path(os.path.realpath(Path(*parts[:after])), *parts[after:])
    return Path(os.path.abspath(path))  # noqa: PTH100


def expanded(path: str | Path) -> Path:
    """A path in which `~` is the user's home; a `~name` without such a user stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def file_state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is rewritten or replaced; None if there is none."""
    status = path.stat() if path.is_file() else None
    return None if status is None else (status.st_ino, status.st_mtime_ns, status.st_size)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
