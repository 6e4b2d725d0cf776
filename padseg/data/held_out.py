"""The normal images that are not trained on, but held out to set thresholds."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from padseg.data.duplicates import find_copies
from padseg.data.samples import names_below_common
from padseg.errors import DataError, count


def split_held_out(paths: Sequence[Path], fraction: float) -> tuple[list[Path], list[Path]]:
    """Split the normal images into those to train on and those held out.

    A hash of the path below the common folder decides, so that both phases, all seeds and all machines
    hold out the same images. Files with equal names in several folders, such as the views of several
    cameras, are drawn independently. Copies of an image stay together: a held-out image that was also trained
    on would make thresholds too low.

    Args:
        paths: The files of the normal images.
        fraction: Share to hold out, in [0, 1).

    Returns:
        The files to train on, in the given order, and those held out, sorted.

    Raises:
        DataError: There are too few to hold any out.
    """
    if fraction == 0:
        return list(paths), []
    size = max(1, round(fraction * len(paths)))
    names = dict(zip(paths, names_below_common(paths), strict=True))
    ranked = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(names[path])).digest())
    copies, held_out = find_copies(paths), set[Path]()
    for path in ranked:
        same = {path, *copies.get(path, ())}
        # The first may be more than that if it leaves half of the images.
        if len(held_out | same) <= size or (not held_out and 2 * len(same) <= len(paths)):
            held_out |= same
    if not held_out or len(held_out) == len(paths):
        different = len(paths) - sum(1 - 1 / len(copies[path]) for path in copies)
        raise DataError(
            f"{paths[0].parent} holds {count(round(different), 'different normal image')}, too few to hold "
            f"{fraction:.0%} out: add images or pass --data.val_fraction 0."
        )
    return [path for path in paths if path not in held_out], sorted(held_out)
