"""Which files are the masks of which image, by their names."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from padseg.data.image_files import list_entries, list_images

# Followed by nothing, a number or further words: 000_mask, 000_mask1, 000_mask_2, 000-Mask (3), 000_Maske.
_MASK = re.compile(r"[ _-]mask(?:s|en?)?(?=$|[ _(\d-])", re.IGNORECASE)


def find_masks(folder: Path, images: Collection[str]) -> defaultdict[str, list[Path]]:
    """The masks of each image of a kind of defect: any number of files, or a folder of files.

    A file is the mask of the image `000` if it is called `000`, `000_mask` or `000_mask1`, in upper or
    lower case, or lies in a folder `000`.

    Args:
        folder: The masks of the kind of defect.
        images: Names of its images, see `plain_name`.

    Returns:
        The files by the name of their image; files that belong to none are left out.
    """
    same: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        same[image.casefold()].add(image)
    masks: defaultdict[str, list[Path]] = defaultdict(list)
    for path in list_images(folder, recursive=True):
        for name in possible_images(plain_name(path, folder)):
            meant = {name} if name in images else same.get(name.casefold(), set())
            if len(meant) == 1:
                masks[meant.pop()].append(path)
                break
    return masks


def possible_images(name: str) -> Iterator[str]:
    """The names of images that a mask of this name may belong to, the most specific first."""
    yield name
    for match in reversed([*_MASK.finditer(name, name.rfind("/") + 1)]):
        yield name[: match.start()]
    if "/" in name:
        yield name.rpartition("/")[0]


def plain_name(path: Path, folder: Path) -> str:
    """The name of a file without suffix, normalised because macOS encodes accents differently."""
    return normalised(path.relative_to(folder).with_suffix("").as_posix())


def normalised(name: str) -> str:
    """A name with composed accents."""
    return unicodedata.normalize("NFC", name)


def find_folder(parent: Path, name: str) -> Path:
    """The folder of this name, else the only one whose name differs in case or in the coding of accents.

    Returns:
        Its path; `parent / name` if there is none.
    """
    if not (parent / name).is_dir():
        wanted = normalised(name).casefold()
        like = [
            path
            for path in list_entries(parent).folders
            if normalised(path.name).casefold() == wanted
        ]
        if len(like) == 1:
            return like[0]
    return parent / name
