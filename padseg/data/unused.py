"""Files of a category that no sample uses."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from padseg.data.findings import Finding
from padseg.data.image_files import IMAGE_SUFFIXES, is_foreign_image, suffixes, walk_folders
from padseg.data.layouts import LAYOUTS
from padseg.data.samples import Sample, is_good
from padseg.errors import DataError
from padseg.machine.marks import is_marked


def check_unused(folder: Path, samples: Sequence[Sample], layout: str) -> list[Finding]:
    """Masks without an image, and images of a category that padseg cannot read or its layout does not use."""
    try:
        entries = [*walk_folders(folder)]
    except DataError as error:
        return [Finding("unused", folder, str(error))]
    used = {path for sample in samples for path in (sample.path, *sample.masks)}
    files = sorted({path for found in entries for path in found.files} - used)
    orphans, unused = _unused_files(folder, files, layout)
    lost_links = [path for found in entries for path in found.lost_links]
    left_out = [path for found in entries for path in found.left_out]
    no_image = "belongs to no test image: name it as its image, with _mask at the end."
    lost = (
        "is a broken link, so that images may be missing: restore its target, or remove the link."
    )
    named = "is left out: by its name it holds copies or thumbnails, or is one."
    return [
        *(Finding("orphan mask", path, f"mask {path} {no_image}") for path in orphans),
        *(Finding("lost link", path, f"{path} {lost}") for path in lost_links),
        *(Finding("left out", path, f"{path} {named}") for path in left_out),
        *unused,
    ]


def _unused_files(
    folder: Path, files: Sequence[Path], layout: str
) -> tuple[list[Path], list[Finding]]:
    """Files that no sample uses: masks without an image, and findings about the others by folder."""
    masks, ignored = LAYOUTS[layout].masks, LAYOUTS[layout].ignored
    own = ("pictures that padseg wrote", "they are left out")
    elsewhere = ("images that are not used", f"move them to where layout {layout!r} has its images")
    unreadable = ("images that are not used", f"padseg reads {suffixes()}")
    orphans: list[Path] = []
    others: defaultdict[tuple[Path, str, str], list[str]] = defaultdict(list)
    for path in files:
        inside = path.relative_to(folder)
        readable = path.suffix.lower() in IMAGE_SUFFIXES
        if not (readable or is_foreign_image(path)) or inside.parts[0] in ignored:
            continue
        if is_marked(path):
            others[path.parent, *own].append(path.name)
        elif masks is None and path.stem.endswith("_label"):  # the mask of a good image
            continue
        elif readable and masks is not None and _is_inside(inside, masks):
            if not is_good(inside.parent.name):
                orphans.append(path)
        else:
            others[path.parent, *(elsewhere if readable else unreadable)].append(path.name)
    unused = [
        Finding(
            "unused", parent, f"{parent} holds {what} ({len(names)}, such as {names[0]}): {remedy}."
        )
        for (parent, what, remedy), names in others.items()
    ]
    return orphans, unused


def _is_inside(path: Path, folder: str) -> bool:
    """Whether a path lies in a folder, in upper or lower case."""
    return PurePosixPath(path.as_posix().casefold()).is_relative_to(folder.casefold())
