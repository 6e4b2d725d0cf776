"""Datasets and samplers: which samples a process reads, and what is drawn for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from padseg.data.augment import Augmentation
from padseg.data.foreground import Foreground
from padseg.data.images import ImageCache, Size, read_image, read_masks
from padseg.data.samples import GOOD, Sample
from padseg.synthesis import SynthesisParams, blend, draw, lattice_noise_mask, perlin_mask

# The second word of a sample's seed names what is drawn, so that the streams are independent.
_ORDER, _TRAIN, _HELD_OUT = 0, 1, 2

Item = dict[str, Any]


def sample_rng(seed: int, stream: int, n: int) -> np.random.Generator:
    """The generator of sample `n` of a stream: a function of (seed, stream, n) alone."""
    return np.random.default_rng([seed, stream, n])


@dataclass(frozen=True)
class DefectSource:
    """Draws the defect of a sample: its texture and the few numbers that its mask follows from.

    Attributes:
        textures: What defects are painted with.
        params: How they are drawn.
        jitter: Augmentation of the textures, if any.
    """

    textures: ImageCache
    params: SynthesisParams
    jitter: Augmentation | None

    def draw(
        self, rng: np.random.Generator, size: Size, foreground: NDArray[np.uint8] | None = None
    ) -> Item:
        """`texture`, (H, W, 3) uint8, and the draw of `padseg.synthesis`, small CPU tensors.

        `foreground`, (H, W) uint8, is passed on to the painting; what is drawn does not depend on it.
        """
        texture = self.textures[int(rng.integers(len(self.textures)))]
        if self.jitter is not None:
            texture = self.jitter(texture, int(rng.integers(2**31)))
        draws = draw(rng, self.params)
        if self.params.backend == "noise":  # a scalar call a pixel, so it runs in the data worker
            on = None if foreground is None else torch.from_numpy(foreground)
            mask = lattice_noise_mask(rng, self.params, size, on) * draws["present"]
            draws = {"opacity": draws["opacity"], "mask": mask}
        elif foreground is not None:
            draws["foreground"] = torch.from_numpy(foreground)
        return {"texture": torch.from_numpy(texture), **draws}


def paint_pairs(batch: Item, params: SynthesisParams | None) -> dict[str, Tensor]:
    """Paint the drawn defects, on the device of the batch.

    Args:
        batch: What `TrainDataset` yields, collated.
        params: As in the draw; None for normal images only.

    Returns:
        `clean` (B, 3, H, W) float32 in [0, 1]; with `params` also `corrupted` and `texture`, alike, and
        `mask` (B, 1, H, W) float32, 1 on the defect. Outside the mask `corrupted` equals `clean`. A
        defect that misses the foreground altogether leaves its sample clean.
    """
    if params is None:
        return {"clean": to_unit(batch["image"])}
    # One plane a channel: in channels-last order, what broadcasts over the channels takes twice as long.
    clean = to_unit(batch["image"], torch.contiguous_format)
    texture = to_unit(batch["texture"], torch.contiguous_format)
    height, width = clean.shape[-2:]
    mask = batch["mask"] if "mask" in batch else perlin_mask(batch, params, (height, width))
    corrupted = blend(clean, texture, mask, batch["opacity"])
    return {"clean": clean, "corrupted": corrupted, "mask": mask, "texture": texture}


def to_unit(image: Tensor, memory_format: torch.memory_format = torch.channels_last) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [0, 1], in the given memory order."""
    return image.permute(0, 3, 1, 2).to(torch.float32, memory_format=memory_format).div_(255)


class TrainDataset(Dataset[Item]):
    """The endless, counted stream of training samples.

    Sample n depends on (seed, n) alone, whatever the workers, the batch size and the devices: the
    normal images come in epochs of a fresh random order each, and everything else is drawn from the
    sample's own generator.

    Args:
        images: The normal images.
        augmentation: Of the normal images, if any.
        defects: Where the defects come from; None for normal images only.
        seed: Of the run.
        foreground: Where defects may lie in the images; None for anywhere.
    """

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]] | ImageCache,
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

    def __getitem__(self, n: int) -> Item:
        """Sample `n`, its defect drawn but not yet painted.

        Returns:
            `image`, (H, W, 3) uint8, and, with a source of defects, what `DefectSource.draw` returns.
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
        item: Item = {"image": torch.from_numpy(image)}
        if self.defects is not None:
            item |= self.defects.draw(rng, (image.shape[0], image.shape[1]), foreground)
        return item


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return sample_rng(seed, _ORDER, epoch).permutation(count)


class HeldOutDataset(Dataset[Item]):
    """Held-out normal images; every second one carries a fixed synthetic defect.

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

    def __getitem__(self, index: int) -> Item:
        """See `eval_item`; `painted` says whether a defect was asked for, which may be empty."""
        image = self.images[index]
        mask = np.zeros(image.shape[:2], np.uint8)
        painted = self.defects is not None and index % 2 == 1
        if self.defects is not None and painted:
            rng = sample_rng(0, _HELD_OUT, index)
            foreground = None if self.foreground is None else self.foreground[index]
            draws = self.defects.draw(rng, (image.shape[0], image.shape[1]), foreground)
            batch = {key: value[None] for key, value in draws.items()}
            pair = paint_pairs(
                {"image": torch.from_numpy(image)[None], **batch}, self.defects.params
            )
            corrupted = (pair["corrupted"][0] * 255).round().byte()
            image, mask = corrupted.permute(1, 2, 0).numpy(), pair["mask"][0, 0].byte().numpy()
        return eval_item(image, mask, index, self.paths[index]) | {"painted": painted}


class TestDataset(Dataset[Item]):
    """The test images with their masks, decoded when asked for: memory does not grow with them.

    Args:
        samples: The test samples.
        size: (H, W) in pixels.
    """

    def __init__(self, samples: Sequence[Sample], size: Size) -> None:
        self.samples = samples
        self.size = size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        """See `eval_item`."""
        sample = self.samples[index]
        image = read_image(sample.path, self.size)
        mask = read_masks(sample.masks, self.size)
        return eval_item(image, mask, index, str(sample.path), defect=sample.defect != GOOD)


def eval_item(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    index: int,
    path: str,
    *,
    defect: bool | None = None,
) -> Item:
    """What is needed to score one image.

    Returns:
        `image` (H, W, 3) uint8, `mask` (1, H, W) uint8, `regions` (1, H, W) int32 with the number of
        the 8-connected region of each pixel and 0 outside, `label` bool, `index` int, `path` str.
    """
    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return {
        "image": torch.from_numpy(image),
        "mask": torch.from_numpy(mask)[None],
        "regions": torch.from_numpy(regions.astype(np.int32))[None],
        "label": bool(mask.any()) if defect is None else defect,
        "index": index,
        "path": path,
    }


class CountedSampler(DistributedSampler[Any]):
    """The numbers of the samples that this process trains on, batch by batch.

    Step t of all processes together takes the samples [t * W * B, (t + 1) * W * B), process r of W the
    r-th B of them, so that many devices see what one device with the summed batch sees. As a
    `DistributedSampler` it is left alone by the Trainer.

    Args:
        start: The first sample: 0, or where a resumed run stopped.
        stop: Where the stage ends; None for never.
        batch_size: B, on each process.
        num_replicas: W.
        rank: r.
        behind: Batches of this process before `start`, which may have been of another size.
    """

    def __init__(
        self,
        start: int,
        stop: int | None,
        batch_size: int,
        num_replicas: int,
        rank: int,
        behind: int = 0,
    ) -> None:
        super().__init__(range(0), num_replicas, rank)  # type: ignore[arg-type]
        self.start = start
        self.stop = stop
        self.batch_size = batch_size
        self.behind = behind

    def __iter__(self) -> Iterator[int]:
        first = self.start + self.rank * self.batch_size
        while self.stop is None or first < self.stop:
            yield from range(first, first + self.batch_size)
            first += self.num_replicas * self.batch_size

    def __len__(self) -> int:
        """Of the whole stage, of which a resumed run has part behind it, as Lightning counts batches."""
        if self.stop is None:
            raise TypeError("an endless stream has no length")
        return self.behind * self.batch_size + (self.stop - self.start) // self.num_replicas


class ShardSampler(DistributedSampler[Any]):
    """Every W-th sample of a finite set, without the duplicates that padding would add."""

    def __init__(self, dataset: Any, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=False)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]
