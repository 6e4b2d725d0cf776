"""Datasets: the content of a sample, and its random draws."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from padseg.data.augment import Augmentation
from padseg.data.cache import ImageCache
from padseg.data.depth import ALL_BITS
from padseg.data.foreground import Foreground
from padseg.data.images import Size, image_shape, read_image
from padseg.data.loco import Saturations, read_defects
from padseg.data.masks import read_masks, read_own_masks
from padseg.data.pairs import Batch, DefectSource, paint_pairs
from padseg.data.samples import GOOD, Sample
from padseg.errors import ConfigError
from padseg.synthesis.fills import ImageList

Made = TypeVar("Made")
# The second word of a sample's seed identifies the stream, so that the streams are independent.
_ORDER, _TRAIN, _HELD_OUT = 0, 1, 2


def sample_rng(seed: int, stream: int, n: int) -> np.random.Generator:
    """The generator of sample `n` of a stream, which depends only on (seed, stream, n)."""
    return np.random.default_rng([seed, stream, n])


class TrainDataset(Dataset[Batch]):
    """The endless, counted stream of training samples.

    Sample n depends only on (seed, n), not on the workers, the batch size or the devices. The normal
    images come in epochs, each in a new random order, and everything else is drawn from the sample's own
    generator.

    Args:
        images: The normal images.
        augmentation: Augmentation of the normal images, if any.
        defects: Where the defects come from; None for normal images only.
        seed: Seed of the run.
        foreground: Where defects may lie in the images; None for anywhere.
    """

    def __init__(
        self,
        images: ImageList,
        augmentation: Augmentation | None,
        defects: DefectSource | None,
        seed: int,
        foreground: Foreground | None = None,
    ) -> None:
        self.images = images
        self.augmentation = augmentation
        self.defects = defects
        self.seed = seed
        self.foreground = foreground

    def __getitem__(self, n: int) -> Batch:
        """Sample `n`, its defect drawn but not yet painted.

        Returns:
            `image`, (H, W, 3) uint8; `index`, its number in the list of normal images; `number`, n; and, with
            a source of defects, what `DefectSource.draw` returns.
        """
        rng = sample_rng(self.seed, _TRAIN, n)
        epoch, position = divmod(n, len(self.images))
        index = int(_epoch_order(self.seed, epoch, len(self.images))[position])
        image = self.images[index]
        foreground = None if self.foreground is None else self.foreground[index]
        if self.augmentation is not None:
            seed = int(rng.integers(2**31))
            if foreground is None:
                image = self.augmentation(image, seed)
            else:
                image, foreground = self.augmentation.with_mask(image, foreground, seed)
        item: Batch = {"image": torch.from_numpy(image), "index": index, "number": n}
        if self.defects is not None:
            item |= self.defects.draw(rng, image, self.images, foreground)
        return item


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return sample_rng(seed, _ORDER, epoch).permutation(count)


class HeldOutDataset(Dataset[Batch]):
    """Held-out normal images; every second one has a fixed synthetic defect.

    The defects are the same in every validation and every run, so that curves can be compared.

    Args:
        images: The held-out normal images.
        paths: Their files.
        defects: Where the defects come from; None for normal images only.
        foreground: Where defects may lie in the images; None for anywhere.
    """

    def __init__(
        self,
        images: ImageCache,
        paths: Sequence[str],
        defects: DefectSource | None,
        foreground: Foreground | None = None,
    ) -> None:
        self.images = images
        self.paths = paths
        self.defects = defects
        self.foreground = foreground

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        """See `eval_item`; `painted` is whether a defect was drawn, which may be empty."""
        image = self.images[index]
        mask = np.zeros(image.shape[:2], np.uint8)
        painted = self.defects is not None and index % 2 == 1
        if self.defects is not None and painted:
            rng = sample_rng(0, _HELD_OUT, index)
            foreground = None if self.foreground is None else self.foreground[index]
            draws = self.defects.draw(rng, image, self.images, foreground)
            sample = default_collate([{"image": torch.from_numpy(image), **draws}])
            pair = paint_pairs(sample, self.defects.params)
            corrupted = (pair["corrupted"][0] * 255).round().byte()
            image, mask = corrupted.permute(1, 2, 0).numpy(), pair["mask"][0, 0].byte().numpy()
        return eval_item(image, mask, index, self.paths[index]) | {"painted": painted}


class TestDataset(Dataset[Batch]):
    """The test images with their masks, decoded on access, so that they take no memory.

    Args:
        samples: The test samples.
        size: (H, W) in pixels.
        native: Whether pixel figures compare score maps with `own_regions`.
        saturations: Of MVTec LOCO's kinds of defects; None for other data sets.

    Attributes:
        bits: As in `read_image`; set by the data module.
    """

    bits: int = ALL_BITS

    def __init__(
        self,
        samples: Sequence[Sample],
        size: Size,
        native: bool = False,
        saturations: Saturations | None = None,
    ) -> None:
        self.samples = samples
        self.size = size
        self.native = native
        self.saturations = saturations

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        """See `eval_item`."""
        sample = self.samples[index]
        image = read_image(sample.path, self.size, self.bits)
        mask = read_masks(sample.masks, self.size)
        return eval_item(image, mask, index, str(sample.path), defect=sample.defect != GOOD)

    def own_defects(self, index: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """See `read_defects`; a good image has none."""
        sample = self.samples[index]
        assert self.saturations is not None
        if not sample.masks:
            return np.zeros((0, *image_shape(sample.path)), bool), np.zeros(0, np.int64)
        return read_defects(sample.masks, self.saturations)

    def own_regions(self, index: int) -> NDArray[np.int32]:
        """(H, W) at the image's own size: numbers of the 8-connected regions of its masks, else 0."""
        sample = self.samples[index]
        if not sample.masks:
            return np.zeros(image_shape(sample.path), np.int32)
        return number_regions(read_own_masks(sample.masks))


def set_up(dataset: Made | None) -> Made:
    """A dataset of a data module that has made it.

    Raises:
        ConfigError: It has not.
    """
    if dataset is None:
        raise ConfigError("the data is not set up: call its setup(), or pass it to a Trainer.")
    return dataset


def eval_item(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    index: int,
    path: str,
    *,
    defect: bool | None = None,
) -> Batch:
    """Everything needed to score one image.

    Returns:
        `image` (H, W, 3) uint8, `mask` (1, H, W) uint8, `regions` (1, H, W) int32 with the number of
        the 8-connected region of each pixel and 0 outside, `label` bool, `index` int, `path` str.
    """
    return {
        "image": torch.from_numpy(image),
        "mask": torch.from_numpy(mask)[None],
        "regions": torch.from_numpy(number_regions(mask))[None],
        "label": bool(mask.any()) if defect is None else defect,
        "index": index,
        "path": path,
    }


def number_regions(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The 8-connected regions of a mask (H, W), numbered from 1, and 0 outside."""
    return np.asarray(cv2.connectedComponents(mask, connectivity=8)[1], dtype=np.int32)
