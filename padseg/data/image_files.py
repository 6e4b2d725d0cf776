"""Which files are images, and the images of a folder."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from padseg.errors import DataError, count
from padseg.machine.marks import is_marked, is_texture

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# Of phones and cameras, which Pillow does not know.
_OF_CAMERAS = frozenset({".arw", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".nef", ".raw"})
# Folders that systems and programs make, in lower case, whose images are copies, thumbnails or deleted.
_OF_SYSTEMS = frozenset(
    {
        *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found"),
        *("__macosx", "network trash folder", "temporary items", "thumbnails", "thumbs"),
    }
)
_log = logging.getLogger(__name__)
_THUMBNAIL = re.compile(
    r"thumb(?:nail)?s?[ _.-]+(?P<after>.+)|(?P<before>.+?)[ _.-]+thumb(?:nail)?s?"
)


class Entries(NamedTuple):
    """What is in a folder, in any order, without hidden files and folders.

    Attributes:
        folders: Folders, also by links.
        files: Files, also by links; and links to missing files whose own names are those of images.
        lost_links: Other links to what does not exist.
        left_out: Folders of systems and programs, and thumbnails of images in the same folder.
    """

    folders: list[Path]
    files: list[Path]
    lost_links: list[Path]
    left_out: list[Path]


def list_images(folder: Path, *, recursive: bool = False, textures: bool = False) -> list[Path]:
    """The image files of a folder, sorted by name; see `Entries` for what is left out.

    Pictures that padseg wrote are left out too, except textures if these are asked for.

    Files are recognised by their suffix, in upper or lower case. They are sorted by their POSIX paths, so
    that the order is the same on every system. Links are followed. A folder that does not exist has no
    images.

    Raises:
        DataError: A folder cannot be read.
    """
    found = walk(folder) if recursive else list_entries(folder).files
    return [
        path
        for path in sort_images(found)
        if not is_marked(path) or (textures and is_texture(path))
    ]


def sort_images(files: Iterable[Path]) -> list[Path]:
    """The files with the suffix of an image, in the order of `list_images`."""
    return sorted(filter(_is_image, files), key=lambda path: path.as_posix())


def list_entries(folder: Path) -> Entries:
    """What is in a folder; nothing if it does not exist.

    Raises:
        DataError: It cannot be read.
    """
    found = Entries([], [], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    _sort_in(entry, folder / entry.name, found)
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise cannot_read(folder, error) from error
    thumbnails = _thumbnails(found.files)
    found.left_out.extend(thumbnails)
    return found._replace(files=[path for path in found.files if path not in thumbnails])


def _sort_in(entry: os.DirEntry[str], path: Path, found: Entries) -> None:
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
    except OSError:  # a link to itself or below a file
        is_folder = is_file = False
    if is_folder:
        of_system = entry.name.casefold() in _OF_SYSTEMS
        (found.left_out if of_system else found.folders).append(path)
    # Without its image, a link would make a data set smaller in silence; opening it names it.
    elif is_file or (entry.is_symlink() and _is_image(path)):
        found.files.append(path)
    elif entry.is_symlink():
        found.lost_links.append(path)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_foreign_image(path: Path) -> bool:
    """Whether a file has the suffix of an image that padseg does not read."""
    suffix = path.suffix.lower()
    kind = Image.MIME.get(Image.registered_extensions().get(suffix, ""), "")
    return suffix not in IMAGE_SUFFIXES and (kind.startswith("image/") or suffix in _OF_CAMERAS)


def warn_of_left_out(entries: Iterable[Entries]) -> None:
    """Warn once of images in folders that padseg does not read, and once of what `Entries.left_out` holds."""
    entries = list(entries)
    foreign = [path for one in entries for path in one.files if is_foreign_image(path)]
    if foreign:
        _log.warning(
            "Left out: %s in other formats, such as %s; padseg reads %s.",
            count(len(foreign), "image"),
            foreign[0],
            suffixes(),
        )
    named = [
        path
        for one in entries
        for path in one.left_out
        # Systems may keep their folders unreadable, which are none of the user's images then.
        if path.is_file() or any(map(_is_image, walk(path, report=lambda *_: None)))
    ]
    if named:
        more = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
        _log.warning(
            "Left out, because of a name like that of a thumbnail or a copy: %s%s; rename it if it shows parts.",
            named[0],
            more,
        )


def _thumbnails(files: list[Path]) -> set[Path]:
    """The images whose names call them thumbnails of another image among these."""
    named = {path: _THUMBNAIL.fullmatch(path.stem.casefold()) for path in files if _is_image(path)}
    stems = {path.stem.casefold() for path in named}
    return {
        path
        for path, match in named.items()
        if match is not None and (match["after"] or match["before"]) in stems
    }


def cannot_read(path: Path | str, error: OSError) -> DataError:
    """The message about a folder that cannot be read, or about a file or folder in one."""
    reason = error.strerror or error
    return DataError(f"{path} cannot be read ({reason}): give access to it, or move it elsewhere.")


def walk(folder: Path, report: Callable[[Path, DataError], None] | None = None) -> Iterator[Path]:
    """The files in a folder and its subfolders, without following links to a parent folder.

    Raises:
        DataError: A folder cannot be read; with `report`, this is called with the folder and the error instead.
    """
    for entries in walk_folders(folder, report=report):
        yield from entries.files


def walk_folders(
    folder: Path,
    report: Callable[[Path, DataError], None] | None = None,
    look: Callable[[Path], Entries] = list_entries,
    above: tuple[Path, ...] = (),
) -> Iterator[Entries]:
    """What is in a folder and each of its subfolders, see `walk`, or what `look` finds there."""
    try:
        entries = look(folder)
    except DataError as error:
        if report is None:
            raise
        report(folder, error)
        return
    yield entries
    above = (*above, folder.resolve())
    for inner in entries.folders:
        target = inner.resolve()
        if not any(outer.is_relative_to(target) for outer in above):
            yield from walk_folders(inner, report, look, above)


def list_textures(folder: Path) -> list[Path]:
    """The texture images below a folder, such as `dtd/images`.

    Raises:
        DataError: The folder is missing, holds no image or cannot be read.
    """
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise DataError(f"texture folder {folder} {what}: pass the folder of DTD's images.")
    textures = list_images(folder, recursive=True, textures=True)
    if not textures:
        raise DataError(f"texture folder {folder} holds no image ({suffixes()}).")
    return textures


def suffixes() -> str:
    """The suffixes of image files, for messages."""
    return ", ".join(sorted(IMAGE_SUFFIXES))
