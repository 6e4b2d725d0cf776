"""The orientation of images."""

from PIL import ExifTags, Image, ImageOps


def upright(image: Image.Image) -> Image.Image:
    """An image turned upright according to its EXIF header; unchanged if it is upright."""
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def upright_shape(image: Image.Image) -> tuple[int, int]:
    """(H, W) of the upright image, from its header."""
    turned = _orientation(image) >= 5  # a quarter turn, possibly mirrored
    return (image.width, image.height) if turned else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    """1 to 8 as in EXIF, 1 for upright; always 1 for TIFF, because Pillow turns these itself."""
    if (
        "exif" not in image.info
    ):  # otherwise a PNG would be decoded to search for one behind its pixels
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))
