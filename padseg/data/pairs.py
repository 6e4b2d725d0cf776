"""Pairs of a normal image and the same image with a synthetic defect.

The draws of a defect are made in a data worker, sample by sample; the defects are painted in one batch
on the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from padseg.data.augment import Augmentation
from padseg.data.cache import ImageCache
from padseg.errors import ConfigError
from padseg.synthesis import Scene, SynthesisParams, corrupt, draw_defect
from padseg.synthesis.fills import ImageList

# A sample or a collated batch, with the keys documented in `AnomalyDataModule`.
Batch = dict[str, Any]


@dataclass(frozen=True)
class DefectSource:
    """Draws the defect of a sample: its texture, and the few numbers that determine its mask.

    Attributes:
        textures: The textures of defects.
        params: The parameters of defects.
        jitter: Augmentation of the textures, if any.
    """

    textures: ImageCache
    params: SynthesisParams
    jitter: Augmentation | None

    def draw(
        self,
        rng: np.random.Generator,
        image: NDArray[np.uint8],
        others: ImageList,
        foreground: NDArray[np.uint8] | None = None,
    ) -> dict[str, Tensor]:
        """Draw one defect.

        Args:
            rng: A generator for this sample alone.
            image: (H, W, 3) uint8, the image that gets the defect.
            others: All normal images, parts of which may fill it.
            foreground: (H, W) uint8, 1 where a defect may lie; None for anywhere. The draws do not
                depend on it.

        Returns:
            `texture`, (H, W, 3) uint8, and the draws of `padseg.synthesis`, small CPU tensors.
        """
        texture = self.textures[int(rng.integers(len(self.textures)))]
        if self.jitter is not None:
            texture = self.jitter(texture, int(rng.integers(2**31)))
        area = None if foreground is None else torch.from_numpy(foreground)
        return draw_defect(rng, self.params, Scene(image, texture, others), area)


def paint_pairs(batch: Batch, params: SynthesisParams | None) -> dict[str, Tensor]:
    """Paint the drawn defects, on the device of the batch.

    Args:
        batch: Collated samples of `TrainDataset`.
        params: The parameters of the draws; None for normal images only.

    Returns:
        `clean` (B, 3, H, W) float32 in [0, 1], `index` and `number` of the batch; with `params` also
        `corrupted` and `texture`, like `clean`, and `mask` (B, 1, H, W) float32, 1 on the defect. Outside
        the mask `corrupted` equals `clean`, except where a defect has a soft edge. A defect that misses
        the foreground completely leaves its sample clean.
    """
    numbers: dict[str, Tensor] = {
        name: batch[name] for name in ("index", "number") if name in batch
    }
    if params is None:
        return {"clean": to_unit(batch["image"]), **numbers}
    # Channels first, because broadcasting over the channels takes twice as long in channels-last order.
    clean = to_unit(batch["image"], torch.contiguous_format)
    texture = to_unit(batch["texture"], torch.contiguous_format)
    corrupted, mask = corrupt(clean, texture, batch, params)
    pairs = {"clean": clean, "corrupted": corrupted, "mask": mask, "texture": texture}
    return pairs | numbers


def check_batch(batch: Any, *needed: str) -> None:
    """Reject a batch without a needed key, or as the data module's loaders return it, unpainted and not in [0, 1].

    Raises:
        ConfigError: As above.
    """
    image = batch.get("image") if isinstance(batch, dict) else None
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.shape[-1:] == (3,):
        raise ConfigError(
            "the loaders of an AnomalyDataModule were given without the module, which finishes their batches: "
            "pass datamodule=data to the Trainer instead."
        )
    if not isinstance(batch, Mapping):
        raise ConfigError(
            f"the batches of the data are of type {type(batch).__name__}: give dicts with the keys that "
            "AnomalyDataModule describes."
        )
    for name in needed:
        if name not in batch:
            raise ConfigError(
                f"the batches of the data have no {name!r}: give dicts with the keys that AnomalyDataModule describes."
            )


def to_unit(image: Tensor, memory_format: torch.memory_format = torch.channels_last) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [0, 1], in the given memory order."""
    return image.permute(0, 3, 1, 2).to(torch.float32, memory_format=memory_format).div_(255)
