"""Files that hold several pictures: pages of a TIFF, frames of an animation."""

from typing import Any

from PIL import Image

from padseg.data.findings import warn_once

_SUBFILE, _REDUCED, _MASK = 254, 1, 4  # a tag of TIFF 6.0, and bits of its value


def count_pages(image: Image.Image) -> int:
    """The pictures in a file, without thumbnails and masks of the first; 1 if only that is left.

    Args:
        image: Open, not decoded yet.
    """
    frames = int(getattr(image, "n_frames", 1))
    # The further pictures of a camera's MPO are other views of the same moment, or previews.
    if frames == 1 or image.format == "MPO":
        return 1
    if image.format != "TIFF":
        return frames
    tiff: Any = image
    pages = 1
    for frame in range(1, frames):
        tiff.seek(frame)
        pages += not int(tiff.tag_v2.get(_SUBFILE, 0)) & (_REDUCED | _MASK)
    tiff.seek(0)
    return pages


def warn_of_pages(image: Image.Image) -> None:
    """Warn of the first file in a process of which only the first picture is read."""
    file = getattr(image, "fp", None)
    if file is not None and (pages := count_pages(image)) > 1:
        name = getattr(file, "name", "an image")
        warn_once(
            "pages",
            f"{name} has {pages} pages or frames, of which only the first is read, as in any other such "
            "file: save each as an image of its own.",
        )
