"""The mark in pictures that padseg writes, by which it leaves them out where it looks for images.

Score maps, overlays and masks often lie beside the images that they were made from. Read as images, they
would be trained on, or move thresholds. The mark is inside the file, so it stays when the file is renamed,
moved or copied, and no name is reserved.
"""

from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

MARK = "Written by padseg, which does not read it as an image."
_ENDS = 2048  # bytes at either end of a file among which the mark is, in each format


def save_marked(image: Image.Image, path: Path, **options: Any) -> None:
    """Save a picture with the mark, in the format of its suffix.

    Args:
        image: The picture.
        path: The file; it is not written atomically.
        **options: Of Pillow's writer.

    Raises:
        OSError: It cannot be written, or not in this format.
        ValueError: The suffix is that of no format.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind == "PNG":
        info = PngInfo()
        info.add_text("padseg", MARK)  # image editors keep comments, but not this
        image.save(path, pnginfo=info, **options)
    elif kind == "JPEG":
        image.save(path, comment=MARK, **options)
    elif kind in ("TIFF", "WEBP"):
        exif = Image.Exif()
        exif[Base.Software] = MARK
        image.save(path, exif=exif, **options)
    else:
        image.save(path, **options)
        if kind in ("BMP", "GIF", "PPM"):  # whose readers stop at the last pixel
            with path.open("ab") as file:
                file.write(MARK.encode())


def is_marked(path: Path) -> bool:
    """Whether a file has the mark; no if it cannot be read, which is reported when it is opened."""
    mark = MARK.encode()
    try:
        with path.open("rb") as file:
            if mark in file.read(_ENDS):
                return True
            file.seek(0, 2)
            file.seek(max(_ENDS, file.tell() - _ENDS))
            return mark in file.read()
    except OSError:
        return False
