"""The small pictures of an evaluation: each image, its score map and its mask."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from padseg.machine.marks import save_marked
from padseg.records.score_maps import to_grey

KINDS = ("maps", "thumbs", "masks")


class RecordPictures(NamedTuple):
    """The small pictures of one image.

    Attributes:
        image: (h, w, 3) uint8.
        score_map: (h, w) uint16, see `padseg.records.score_maps`.
        mask: (h, w) bool.
    """

    image: NDArray[np.uint8]
    score_map: NDArray[np.uint16]
    mask: NDArray[np.bool_]


def shrink(
    batch: dict[str, Tensor], shapes: Sequence[tuple[int, int]], side: int
) -> list[RecordPictures]:
    """Bring a batch to the host, with each image's own aspect ratio.

    A mask keeps every defect, however small.

    Args:
        batch: `image` (B, 3, H, W) in [0, 1], `score_map` and `mask` (B, 1, H, W); any device.
        shapes: (height, width) of each image before it was resized to (H, W).
        side: Largest length of a picture's longer side in pixels; it never exceeds H and W.

    Returns:
        The pictures of each image.
    """
    # On the host, because the pooling below is wrong on Apple's GPUs (pytorch/pytorch#190064).
    images, score_maps, masks = (
        batch[name].cpu().float() for name in ("image", "score_map", "mask")
    )
    side = min(side, max(images.shape[-2:]))
    pictures = []
    for at, shape in enumerate(shapes):
        image, score_map, mask = (values[at : at + 1] for values in (images, score_maps, masks))
        size = [max(1, round(length * side / max(shape))) for length in shape]
        if size != list(image.shape[-2:]):
            image, score_map = (
                functional.interpolate(values, size, mode="bilinear", antialias=True)
                for values in (image, score_map)
            )
            mask = functional.adaptive_max_pool2d(mask, size)
        pixels = (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
        pictures.append(
            RecordPictures(
                pixels.numpy(), to_grey(score_map[0, 0].numpy()), (mask[0, 0] > 0).numpy()
            )
        )
    return pictures


def write_pictures(folder: Path, index: int, pictures: RecordPictures) -> None:
    """Write the pictures of one image."""
    save_marked(Image.fromarray(pictures.image), picture_path(folder, "thumbs", index), quality=90)
    # This takes a quarter of the default level's time, and a sixth more bytes.
    grey = Image.fromarray(pictures.score_map)
    save_marked(grey, picture_path(folder, "maps", index), compress_level=1)
    if pictures.mask.any():
        save_marked(Image.fromarray(pictures.mask), picture_path(folder, "masks", index))


def remove_pictures(folder: Path, index: int) -> None:
    """Remove the pictures of one image; its row in the table stays."""
    for kind in KINDS:
        picture_path(folder, kind, index).unlink(missing_ok=True)


def picture_path(folder: Path, kind: str, index: int) -> Path:
    """Path of a picture; `kind` is maps, thumbs or masks."""
    return folder / kind / f"{index:05d}.{'jpg' if kind == 'thumbs' else 'png'}"
