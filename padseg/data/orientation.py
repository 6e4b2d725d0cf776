"""Which way up an image is."""

from PIL import ExifTags, Image, ImageOps


def upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF header says; itself where nothing is to be turned."""
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def upright_shape(image: Image.Image) -> tuple[int, int]:
    """(H, W) of the upright image, from its header."""
    turned = _orientation(image) >= 5  # a quarter turn, mirrored or not
    return (image.width, image.height) if turned else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    """1 to 8 as in EXIF, 1 for upright; always 1 for TIFF, as Pillow turns those itself."""
    if "exif" not in image.info:  # else a PNG would be decoded in search of one behind its pixels
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))
