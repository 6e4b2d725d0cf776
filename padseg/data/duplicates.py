"""Images that are in a data set more than once, in particular on both sides of its split."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from padseg.data.findings import Finding
from padseg.data.images import Pixels
from padseg.data.samples import Sample
from padseg.errors import DataError
from padseg.machine.files import hash_file
from padseg.machine.threads import map_in_threads

_MIDDLE = 4096  # bytes
_USES = {"train": "trained on", "validation": "held out for validation", "test": "tested on"}


def check_duplicates(
    samples: Sequence[Sample],
    read: Callable[[Path], Pixels] | None = None,
) -> list[Finding]:
    """Images that are in two parts of the split, or, by their pixels, twice in one.

    Args:
        samples: All samples of a category.
        read: `read_pixels`, to compare pixels between the parts and within each. None compares files between the
            parts alone: one is read completely only if another part has one of the same size with the same bytes
            in the middle.
    """
    parts = {name: [s.path for s in samples if s.split == name] for name in _USES}
    if read is None:
        for quick in (_size, _middle):
            parts = _shared(parts, quick)
    content = hash_file if read is None else lambda path: read(path).digest
    found = {name: _by_content(paths, content) for name, paths in parts.items()}
    twice = {
        path: Finding(
            "two parts",
            path,
            f"{path} is the same image as {found[other][key][0]}, which is {_USES[other]}: remove one of them.",
        )
        for other, name in combinations(_USES, 2)
        for key in found[name].keys() & found[other].keys()
        for path in found[name][key]
    }
    findings = list(twice.values())
    if read is not None:
        findings += [
            Finding(
                "duplicate", path, f"{path} is the same image as {same[0]}: remove one of them."
            )
            for part in found.values()
            for same in part.values()
            for path in same[1:]
        ]
    return sorted(findings, key=lambda finding: finding.file.as_posix())


def find_copies(paths: Sequence[Path]) -> dict[Path, list[Path]]:
    """The files with the content of each file that another one has as well, itself included."""
    for quick in (_size, _middle):
        keys = {path: quick(path) for path in paths}
        often = Counter(keys.values())
        paths = [path for path in paths if keys[path] is not None and often[keys[path]] > 1]
    same = [files for files in _by_content(paths, hash_file).values() if len(files) > 1]
    return {path: files for files in same for path in files}


def _shared(
    parts: Mapping[str, list[Path]], quick: Callable[[Path], Hashable]
) -> dict[str, list[Path]]:
    """The files whose quick key another part has as well."""
    keys = {path: quick(path) for paths in parts.values() for path in paths}
    of_part = {name: {keys[path] for path in paths} - {None} for name, paths in parts.items()}
    common = {key for one, other in combinations(of_part.values(), 2) for key in one & other}
    return {name: [path for path in paths if keys[path] in common] for name, paths in parts.items()}


def _by_content(paths: Iterable[Path], content: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Files by their content; `check_files` reports those that cannot be read."""
    paths = list(dict.fromkeys(paths))
    found: defaultdict[str, list[Path]] = defaultdict(list)

    def digest(path: Path) -> str | None:
        try:
            return content(path)
        except (DataError, OSError, ValueError):
            return None

    for path, key in zip(paths, map_in_threads(digest, paths), strict=True):
        if key is not None:
            found[key].append(path)
    return found


def _size(path: Path) -> int | None:
    """The size of a file in bytes; None if there is no such file."""
    try:
        return path.stat().st_size or None
    except (OSError, ValueError):
        return None


def _middle(path: Path) -> bytes | None:
    """A digest of some bytes from the middle, where even uncompressed images of one size differ."""
    try:
        with path.open("rb") as file:
            file.seek(path.stat().st_size // 2)
            return hashlib.blake2b(file.read(_MIDDLE), digest_size=16).digest()
    except (OSError, ValueError):
        return None
