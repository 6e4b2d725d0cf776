"""Files of a category that no sample uses."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from padseg.data.findings import Finding
from padseg.data.image_files import IMAGE_SUFFIXES, suffixes, walk_folders
from padseg.data.layouts import LAYOUTS
from padseg.data.samples import NORMAL_NAMES, Sample
from padseg.errors import DataError
from padseg.machine.marks import is_marked


def check_unused(folder: Path, samples: Sequence[Sample], layout: str) -> list[Finding]:
    """Masks without an image, and images that padseg cannot read or that the layout does not use.

    Args:
        folder: The folder of a category.
        samples: Its samples.
        layout: Its layout.
    """
    try:
        entries = [*walk_folders(folder)]
    except DataError as error:
        return [Finding("unused", folder, str(error))]
    files = sorted(path for found in entries for path in found.files)
    used = {path for sample in samples for path in (sample.path, *sample.masks)}
    masks, ignored = LAYOUTS[layout].masks, LAYOUTS[layout].ignored
    orphans: list[Path] = []
    others: defaultdict[tuple[Path, bool], list[str]] = defaultdict(list)
    own: defaultdict[Path, list[str]] = defaultdict(list)
    known = Image.registered_extensions().keys() | IMAGE_SUFFIXES
    for path in files:
        suffix, inside = path.suffix.lower(), path.relative_to(folder)
        if path in used or suffix not in known or inside.parts[0] in ignored:
            continue
        if is_marked(path):
            own[path.parent].append(path.name)
            continue
        readable = suffix in IMAGE_SUFFIXES
        if masks is None and path.stem.endswith("_label"):  # the mask of a good image
            continue
        if readable and masks is not None and _is_inside(inside, masks):
            if inside.parent.name.casefold() not in NORMAL_NAMES:
                orphans.append(path)
        else:
            others[path.parent, readable].append(path.name)
    return [
        *(
            Finding(
                "orphan mask",
                path,
                f"mask {path} belongs to no test image: name it as its image, with _mask at the end.",
            )
            for path in orphans
        ),
        *(
            Finding(
                "lost link",
                path,
                f"{path} is a link to what does not exist, so that images may be missing: restore that, or "
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
        *(
            Finding(
                "unused",
                parent,
                f"{parent} holds images that are not used ({len(names)}, such as {names[0]}): "
                + (
                    f"move them to where layout {layout!r} has its images."
                    if readable
                    else f"padseg reads {suffixes()}."
                ),
            )
            for (parent, readable), names in others.items()
        ),
        *(
            Finding(
                "unused",
                parent,
                f"{parent} holds pictures that padseg wrote ({len(names)}, such as {names[0]}): they are "
                "left out.",
            )
            for parent, names in own.items()
        ),
    ]


def _is_inside(path: Path, folder: str) -> bool:
    """Whether a path lies in a folder, in upper or lower case."""
    return PurePosixPath(path.as_posix().casefold()).is_relative_to(folder.casefold())
