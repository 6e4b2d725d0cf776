"""Images that are in a data set more than once, in particular on both sides of its split."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from padseg.data.depth import ALL_BITS
from padseg.data.findings import Finding
from padseg.data.images import decode
from padseg.data.samples import Sample
from padseg.errors import DataError
from padseg.machine.files import hash_file
from padseg.machine.threads import map_in_threads

_MIDDLE = 4096  # bytes


def hash_pixels(path: Path, bits: int = ALL_BITS) -> str:
    """A digest of the pixels, independent of the encoding; `bits` are those that 16-bit images use."""
    pixels = decode(path, bits)
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def check_duplicates(
    samples: Sequence[Sample],
    pixel_bits: int | None = None,
) -> list[Finding]:
    """Images that are on both sides of the split, or, by their pixels, twice on one side.

    Args:
        samples: All samples of a category.
        pixel_bits: Bits that the pixels of 16-bit images use, to compare pixels on both sides and within each.
            None compares files between the sides alone: one is read completely only if the other side has one
            of the same size with the same bytes in the middle.
    """
    tested = [sample.path for sample in samples if sample.split == "test"]
    trained = [sample.path for sample in samples if sample.split != "test"]
    if pixel_bits is None:
        for quick in (_size, _middle):
            keys = {path: quick(path) for path in (*tested, *trained)}
            shared = {keys[path] for path in tested} & {keys[path] for path in trained} - {None}
            tested = [path for path in tested if keys[path] in shared]
            trained = [path for path in trained if keys[path] in shared]
    content = hash_file if pixel_bits is None else partial(hash_pixels, bits=pixel_bits)
    of_test, of_train = _by_content(tested, content), _by_content(trained, content)
    findings = [
        Finding(
            "train and test",
            path,
            f"{path} is the image {of_train[key][0]}, which is trained on: remove one of them.",
        )
        for key in of_test.keys() & of_train.keys()
        for path in of_test[key]
    ]
    if pixel_bits is not None:
        findings += [
            Finding("duplicate", path, f"{path} is the image {same[0]} once more.")
            for side in (of_train, of_test)
            for same in side.values()
            for path in same[1:]
        ]
    return sorted(findings, key=lambda finding: finding.file.as_posix())


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
    """In bytes; None if there is no such file."""
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
