"""Finds the object in an image, so that synthetic defects can be kept on it.

After Chen et al., "A unified anomaly synthesis strategy with gradient ascent for industrial anomaly
detection and localization" (GLASS), ECCV 2024, which reads masks from files; the threshold is Otsu's
(IEEE Transactions on Systems, Man and Cybernetics 1979).
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from padseg.data.cache import ImageCache
from padseg.data.findings import raise_problems
from padseg.data.image_files import IMAGE_SUFFIXES
from padseg.data.images import Size, image_shape
from padseg.data.masks import read_masks
from padseg.errors import ConfigError, DataError
from padseg.machine.files import expanded
from padseg.machine.marks import is_marked

OTSU = "otsu"


class Foreground:
    """The foreground masks of a list of images, with one bit per pixel.

    Args:
        masks: Masks (H, W) of 0 and 1.
    """

    def __init__(self, masks: Sequence[NDArray[np.uint8]]) -> None:
        self._size = masks[0].shape
        self._bits = np.stack([np.packbits(mask) for mask in masks])

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W) uint8, 1 on the object."""
        count = self._size[0] * self._size[1]
        return np.unpackbits(self._bits[index], count=count).reshape(self._size)


def foreground_source(given: str | Path | None) -> str | None:
    """The option `--data.foreground`, the `~` of a folder expanded.

    Raises:
        ConfigError: It is neither `otsu` nor a folder.
    """
    if given is None or given == OTSU:
        return given
    folder = expanded(given)
    if not folder.is_dir():
        raise ConfigError(f"--data.foreground is {given}; it must be otsu or a folder.")
    return str(folder)


def find_foreground(
    source: str, images: ImageCache, paths: Sequence[Path], root: Path, size: Size
) -> Foreground:
    """The foreground of normal images.

    Args:
        source: `otsu`, or a folder that mirrors the data set's. It has a mask for each image, white on the
            object, with the same name and any image suffix.
        images: The images at `size`.
        paths: Their files.
        root: Folder of the data set.
        size: (H, W) in pixels.

    Raises:
        DataError: Masks are missing, cannot be read or have another shape than their images; the message
            names them all.
    """
    if source == OTSU:
        return Foreground([otsu_foreground(images[index]) for index in range(len(images))])
    found, broken = [], []
    for path in paths:
        try:
            mask = _mask_file(path, Path(source) / path.relative_to(root))
            found.append(read_masks([mask], size))
        except DataError as error:
            broken.append(str(error))
    raise_problems(broken)
    return Foreground(found)


def _mask_file(path: Path, place: Path) -> Path:
    """The foreground mask of an image; one that would be stretched is of another image or of a rotated one."""
    spellings = (place.with_suffix(suffix) for suffix in [place.suffix, *sorted(IMAGE_SUFFIXES)])
    mask = next((file for file in spellings if file.is_file() and not is_marked(file)), None)
    if mask is None:
        raise DataError(
            f"{path} has no foreground mask: --data.foreground should hold it as {place}, with any image suffix."
        )
    (height, width), (own_height, own_width) = image_shape(path), image_shape(mask)
    # A mask may be smaller than its image; then a side can be a pixel off.
    if abs(own_height * width - own_width * height) > height + width:
        raise DataError(
            f"{mask} has {own_width}x{own_height} pixels, but its image {width}x{height}: make the "
            "foreground mask from this image."
        )
    return mask


def otsu_foreground(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The object by Otsu's threshold on the grey image, with its holes filled.

    The background is the side of the threshold that most of the image's border belongs to.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (H, W) uint8, 1 on the object.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    side = bright if border.mean() <= 0.5 else 1 - bright
    filled: NDArray[np.uint8] = ndimage.binary_fill_holes(side).astype(np.uint8)
    return filled
