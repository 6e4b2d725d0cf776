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

from padseg.errors import DataError

MARK = "Written by padseg, which does not read it as an image."
TEXTURE_MARK = "Texture made by padseg, which does not read it as an image."
"""The mark of textures for synthetic defects, which may be read as textures."""
_ENDS = 2048  # bytes at either end of a file among which the mark is, in each format


def save_marked(image: Image.Image, path: Path, mark: str = MARK, /, **options: Any) -> None:
    """Save a picture with the mark, in the format of its suffix.

    Args:
        image: The picture.
        path: The file; it is not written atomically.
        mark: `MARK` or `TEXTURE_MARK`.
        **options: Of Pillow's writer.

    Raises:
        OSError: It cannot be written, or not in this format.
        ValueError: The suffix is that of no format.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind == "PNG":
        info = PngInfo()
        info.add_text("padseg", mark)  # image editors keep comments, but not this
        image.save(path, pnginfo=info, **options)
    elif kind == "JPEG":
        image.save(path, comment=mark, **options)
    elif kind in ("TIFF", "WEBP"):
        exif = Image.Exif()
        exif[Base.Software] = mark
        image.save(path, exif=exif, **options)
    else:
        image.save(path, **options)
        if kind in ("BMP", "GIF", "PPM"):  # whose readers stop at the last pixel
            with path.open("ab") as file:
                file.write(mark.encode())


def is_marked(path: Path) -> bool:
    """Whether a file has one of the marks; no if it cannot be read, which is reported when it is opened."""
    return _has(path, MARK, TEXTURE_MARK)


def require_own(path: Path) -> None:
    """Make sure that writing a picture replaces none but padseg's own.

    Raises:
        DataError: The file exists and has no mark.
    """
    if path.is_file() and not is_marked(path):
        raise DataError(f"{path} exists and was not written by padseg: pass another --out.")


def is_texture(path: Path) -> bool:
    """Whether a file has the mark of a texture; no if it cannot be read."""
    return _has(path, TEXTURE_MARK)


def _has(path: Path, *marks: str) -> bool:
    try:
        with path.open("rb") as file:
            ends = [file.read(_ENDS)]
            file.seek(0, 2)
            # In a small file the two overlap: a mark must not be cut in two.
            file.seek(max(0, file.tell() - _ENDS))
            ends.append(file.read())
    except OSError:
        return False
    return any(mark.encode() in end for mark in marks for end in ends)
