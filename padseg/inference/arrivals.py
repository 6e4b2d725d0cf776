"""Image files that other programs write into folders, each given out once it is whole."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from padseg.data.image_files import sort_images, walk
from padseg.errors import DataError
from padseg.inference.results import file_version
from padseg.machine.marks import is_marked

_PATIENCE = 30.0  # seconds that an unchanged file may stay unreadable
_PAUSE = 1.0  # seconds between two looks
# Pauses are at least so many times as long as a look, which is slow on some network drives.
_SHARE = 4
_NEVER = float("inf")

_log = logging.getLogger(__name__)


@dataclass
class _Seen:
    """A version of a file, when it was first seen, and when it is to be given out, in seconds."""

    version: str
    since: float
    due: float


class Arrivals:
    """Looks into folders again and again, which works on network drives that report no changes, too.

    A file is given out when its size and the time of its last change are the same at two looks, and
    again whenever they change later. Hidden files, thumbnails and pictures that padseg wrote never are.

    Args:
        folders: The folders, with all subfolders; absolute paths.
        leave_out: A folder that is left out, should it lie in one of them; an absolute path. If it is one of them, or
            holds one, only pictures that padseg wrote are left out.
        clock: The time in seconds.

    Attributes:
        pause: Seconds to wait before the next look.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        leave_out: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pause = _PAUSE
        self._folders = folders
        holds = any(folder.is_relative_to(leave_out) for folder in folders)
        self._leave_out = None if holds else f"{leave_out}{os.sep}"
        self._clock = clock
        # Files that are gone stay in it, because a whole drive may be gone for a while.
        self._seen: dict[Path, _Seen] = {}
        self._unreadable: set[Path] = set()

    def look(self) -> list[Path]:
        """The files that are to be given out now, in order."""
        now = self._clock()
        given = []
        for path in self._find():
            version, seen = file_version(path), self._seen.get(path)
            if seen is None or seen.version != version:
                self._seen[path] = _Seen(version, now, now)
            elif now >= seen.due:
                seen.due = _NEVER
                if not is_marked(path):
                    given.append(path)
        self.pause = max(_PAUSE, _SHARE * (self._clock() - now))
        return given

    def version(self, path: Path) -> str:
        """The version of a file at the last look; see `file_version`."""
        return self._seen[path].version

    def versions(self) -> Iterator[tuple[Path, str]]:
        """The files that were seen, and their versions."""
        return ((path, seen.version) for path, seen in self._seen.items())

    def retry(self, path: Path) -> bool:
        """Give out a file again that could not be read, because it may still be on its way.

        It is given out when it has changed, and a last time when it has not for 30 seconds.

        Returns:
            Whether it is still waited for. A file that is gone need not be read.
        """
        seen = self._seen[path]
        if not os.path.exists(path):  # noqa: PTH110 - a lost drive raises errors in pathlib
            del self._seen[path]
            return True
        waits = self._clock() - seen.since < _PATIENCE
        if waits:
            seen.due = seen.since + _PATIENCE
        return waits

    def _find(self) -> list[Path]:
        missing: dict[Path, DataError] = {}
        found: dict[Path, None] = {}
        for folder in self._folders:
            if not os.path.isdir(folder):  # noqa: PTH112 - likewise
                missing[folder] = DataError(f"{folder} does not exist: restore it.")
            found.update(dict.fromkeys(sort_images(walk(folder, report=missing.__setitem__))))
        for folder in sorted(missing.keys() - self._unreadable):
            _log.warning("Waiting for a folder: %s", missing[folder])
        self._unreadable = set(missing)
        own = self._leave_out
        return [path for path in found if own is None or not str(path).startswith(own)]
