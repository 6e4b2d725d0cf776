"""Unpack downloaded archives into a new folder, completely or not at all."""

import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

from padseg.errors import DataError
from padseg.machine.files import leads_out


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip archive as a new folder; a single top-level folder is stripped.

    Args:
        archive: The archive, tar (plain, gzip, bzip2 or xz) or zip.
        folder: The folder to create; it does not exist yet, and no other process creates it.

    Raises:
        DataError: The archive is damaged, or holds a link, a device or a path that leads out of it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # what a killed process left
    draft.mkdir()
    try:
        content = draft / "content"
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, content)
        else:
            _unpack_tar(archive, content)
        inside = list(content.iterdir())
        whole = inside[0] if len(inside) == 1 and inside[0].is_dir() else content
        whole.rename(folder)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"archive {archive} cannot be unpacked to {folder} ({error}).") from error
    except Exception as error:  # zlib, lzma, struct, zipfile and tarfile each have their own errors
        raise DataError(f"archive {archive} is damaged ({error}): fetch it again.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _hostile(archive, member.filename, "is a link or a device")
            _confine(archive, member.filename)
            content.extract(member, folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    # Not `extractall`: its filters came with Python 3.11.4, allow links within the archive, and strip
    # the slash from absolute paths.
    with tarfile.open(archive) as content:
        for member in content:
            if not (member.isreg() or member.isdir()):
                raise _hostile(archive, member.name, "is a link or a device")
            _confine(archive, member.name)
            target = folder / member.name
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            source = content.extractfile(member)
            assert source is not None  # of a regular file
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)


def _confine(archive: Path, name: str) -> None:
    if leads_out(name):
        raise _hostile(archive, name, "leads out of the archive")


def _hostile(archive: Path, name: str, what: str) -> DataError:
    return DataError(f"archive {archive} is not safe: its member {name!r} {what}; delete it.")
