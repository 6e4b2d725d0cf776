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
    return [
        *orphans,
        *(
            Finding(
                "lost link",
                path,
                f"{path} is a broken link, so that images may be missing: restore its target, or "
                "remove the link.",
            )
            for found in entries
            for path in found.lost_links
        ),
        *(
            Finding(
                "left out",
                path,
                f"{path} is left out: by its name it holds copies or thumbnails, or is one.",
            )
            for found in entries
            for path in found.left_out
        ),
        *unused,
    ]


def _unused_files(
    folder: Path, files: Sequence[Path], layout: str
) -> tuple[list[Finding], list[Finding]]:
    """Findings about files that no sample uses: masks without an image, and the others by folder."""
    masks, ignored = LAYOUTS[layout].masks, LAYOUTS[layout].ignored
    orphans: list[Path] = []
    others: defaultdict[tuple[Path, bool], list[str]] = defaultdict(list)
    own: defaultdict[Path, list[str]] = defaultdict(list)
    for path in files:
        inside = path.relative_to(folder)
        readable = path.suffix.lower() in IMAGE_SUFFIXES
        if not (readable or is_foreign_image(path)) or inside.parts[0] in ignored:
            continue
        if is_marked(path):
            own[path.parent].append(path.name)
            continue
        if masks is None and path.stem.endswith("_label"):  # the mask of a good image
            continue
        if readable and masks is not None and _is_inside(inside, masks):
            if not is_good(inside.parent.name):
                orphans.append(path)
        else:
            others[path.parent, readable].append(path.name)
    unused = [
        _not_used(parent, names, layout if readable else None)
        for (parent, readable), names in others.items()
    ]
    unused += [_own_pictures(parent, names) for parent, names in own.items()]
    return [_orphan(path) for path in orphans], unused


def _orphan(mask: Path) -> Finding:
    message = f"mask {mask} belongs to no test image: name it as its image, with _mask at the end."
    return Finding("orphan mask", mask, message)


def _not_used(folder: Path, names: Sequence[str], layout: str | None) -> Finding:
    """Images of a folder that are not in their place, or, without a layout, that padseg cannot read."""
    remedy = (
        f"padseg reads {suffixes()}."
        if layout is None
        else f"move them to where layout {layout!r} has its images."
    )
    many = f"{len(names)}, such as {names[0]}"
    return Finding("unused", folder, f"{folder} holds images that are not used ({many}): {remedy}")


def _own_pictures(folder: Path, names: Sequence[str]) -> Finding:
    many = f"{len(names)}, such as {names[0]}"
    message = f"{folder} holds pictures that padseg wrote ({many}): they are left out."
    return Finding("unused", folder, message)


def _is_inside(path: Path, folder: str) -> bool:
    """Whether a path lies in a folder, in upper or lower case."""
    return PurePosixPath(path.as_posix().casefold()).is_relative_to(folder.casefold())
