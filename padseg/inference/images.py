"""Opening whatever is given as an image: a file or its content, Pillow's image, an array or a tensor."""

import io
import os
import threading
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from padseg.data.depth import ALL_BITS, to_rgb
from padseg.data.images import image_shape, open_rgb
from padseg.errors import DataError
from padseg.machine.files import expanded

MOST_PIXELS = 2**26
"""Total pixels of images that wait to be scored or written, unless a single one has more."""
File = str | os.PathLike[str] | bytes | bytearray | BinaryIO
ImageSource = File | Image.Image | NDArray[Any] | Tensor
# Pillow decodes an image when it is first used, and threads may be given the same one.
_DECODING = threading.Lock()
_COLOURS = (1, 3, 4)  # channels of an image: grey, RGB, RGB with transparency


def as_sources(images: Any) -> tuple[bool, list[ImageSource] | Any]:
    """Tell a single image from several.

    Args:
        images: As `Predictor` takes them.

    Returns:
        Whether it is a single one; and the images, in a list or as they were given.

    Raises:
        DataError: It is neither an image nor an iterable of images.
    """
    if isinstance(images, np.ndarray | Tensor):
        return (True, [images]) if images.ndim < 4 else (False, list(images))
    content = isinstance(images, bytes | bytearray | memoryview) or hasattr(images, "read")
    if content or isinstance(images, Image.Image | str | os.PathLike):
        return True, [images]
    if not hasattr(images, "__iter__") or isinstance(images, dict):
        raise _no_image(images)
    return False, images


def snapshot(source: ImageSource) -> ImageSource:
    """The source, or a copy of one whose owner may reuse its memory for the next image, as loops over cameras do."""
    if isinstance(source, np.ndarray):
        return source.copy()
    if isinstance(source, Tensor):
        return source.detach().clone()
    if isinstance(source, io.BytesIO):
        return source.getvalue()
    return bytes(source) if isinstance(source, bytearray | memoryview) else source


def load_rgb(source: ImageSource, bits: int = ALL_BITS) -> Image.Image:
    """An image as upright RGB.

    Args:
        source: As `Predictor` takes it. Transparency is dropped.
        bits: Bits that the pixels of 16-bit images use; the upper eight of these are kept.

    Raises:
        DataError: It cannot be read, or its pixels are neither 8 nor 16 bits.
    """
    if isinstance(source, str | os.PathLike):
        return open_rgb(expanded(os.fspath(source)), bits)
    try:
        if isinstance(source, Image.Image):
            with _DECODING:
                return to_rgb(source, bits)
        if isinstance(source, np.ndarray | Tensor):
            return to_rgb(_from_array(source), bits)
        if isinstance(source, bytes | bytearray | memoryview):
            source = io.BytesIO(source)
        if hasattr(source, "read"):
            with Image.open(source) as image:
                return to_rgb(image, bits)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError("the image does not fit into memory: cut it into smaller ones.") from error
    except UnidentifiedImageError as error:
        raise DataError("the content of an image file is of no known format.") from error
    except Exception as error:  # Pillow's decoders raise nearly any exception on damaged content
        raise DataError(f"image {type(source).__name__} cannot be read ({error}).") from error
    raise _no_image(source)


def _from_array(source: NDArray[Any] | Tensor) -> Image.Image:
    """An image from its pixels.

    Raises:
        DataError: It is unclear which pixels they are.
    """
    tensor = isinstance(source, Tensor)
    if isinstance(source, Tensor):
        values = source.detach().cpu()
        # NumPy has no bfloat16.
        pixels = (values.float() if values.is_floating_point() else values).numpy()
    else:
        pixels = source
    shape = tuple(source.shape)
    if pixels.ndim == 3:
        first, last = shape[0] in (1, 3), shape[2] in _COLOURS
        if first and (tensor or not last):
            pixels = np.moveaxis(pixels, 0, 2)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    deep = pixels.dtype == np.uint16 and pixels.ndim == 2
    known = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in _COLOURS)
    # As torchvision's; arrays of floats are as often from 0 to 255.
    unit = tensor and np.issubdtype(pixels.dtype, np.floating)
    if not known or not (pixels.dtype == np.uint8 or deep or unit):
        kind = "a tensor" if tensor else "an array"
        raise DataError(
            f"{kind} of {source.dtype} and shape {shape} is not an image: give RGB or grey as (H, W, 3), "
            "(3, H, W) or (H, W), several grey ones as (B, 1, H, W), uint8, or a floating tensor in [0, 1]."
        )
    if not pixels.size:
        raise DataError(f"an array of shape {shape} has no pixels.")
    if unit:
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise DataError(
                f"the pixels of a floating tensor are from {pixels.min():g} to {pixels.max():g}: scale them "
                "to [0, 1], without normalisation."
            )
        pixels = (pixels * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _no_image(given: Any) -> DataError:
    return DataError(
        f"an object of type {type(given).__name__} is not an image: give a file or its content, Pillow's image, an "
        "array or a tensor, or an iterable of these."
    )


def count_pixels(source: ImageSource) -> int:
    """The pixels of an image; 0 if it cannot be read, which is reported when it is opened."""
    try:
        if isinstance(source, Image.Image):
            return source.height * source.width
        if isinstance(source, np.ndarray | Tensor):
            return int(np.prod(source.shape))
        if isinstance(source, str | os.PathLike):
            height, width = image_shape(expanded(os.fspath(source)))
            return height * width
    except (DataError, ValueError):
        return 0
    return 0  # content that is in memory already
