"""The stream of training samples: the position of a training in it, and who may continue it."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from padseg.data.depth import ALL_BITS
from padseg.data.samples import names_below_common
from padseg.errors import CheckpointError, ConfigError
from padseg.options import as_stored
from padseg.synthesis.kinds import MIXED
from padseg.synthesis.params import SynthesisParams


@dataclass(frozen=True)
class Position:
    """A position in the stream.

    Attributes:
        sample: Number of the next sample.
        step: Optimiser steps before it.
        batch: Batches of one process before it.
    """

    sample: int = 0
    step: int = 0
    batch: int = 0

    def at_step(self, step: int, batches_per_step: int, samples_per_batch: int) -> "Position":
        """Where a later step begins.

        Args:
            step: The step, counted from the beginning of the training.
            batches_per_step: Batches of one process per step.
            samples_per_batch: Samples of all processes together per batch.
        """
        batches = (step - self.step) * batches_per_step
        return Position(self.sample + batches * samples_per_batch, step, self.batch + batches)

    def to_dict(self) -> dict[str, int]:
        """Plain values, as checkpoints hold them."""
        return {"next_sample": self.sample, "step": self.step, "batches": self.batch}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Position":
        """The inverse of `to_dict`; older checkpoints do not count batches and had one per step."""
        sample, step = int(state["next_sample"]), int(state["step"])
        return cls(sample, step, int(state.get("batches", step)))


@dataclass(frozen=True)
class TrainedImages:
    """Which images a training sees, in the short form that checkpoints hold.

    Attributes:
        count: Their number.
        sha256: SHA-256 of their paths below their common folder, in order, in hexadecimal.
    """

    count: int
    sha256: str

    @classmethod
    def of(cls, paths: Sequence[Path]) -> "TrainedImages":
        """The short form of a list of files."""
        names = "\0".join(names_below_common(paths))
        return cls(len(paths), hashlib.sha256(os.fsencode(names)).hexdigest())

    def require_same(
        self, before: Mapping[str, Any] | None, checkpoint: str, category: str
    ) -> None:
        """Reject a checkpoint that was trained on others, of which some may be held out now.

        `before` is what it holds of them; one without it cannot be compared.

        Raises:
            CheckpointError: They differ.
        """
        if before is None or before == asdict(self):
            return
        renamed = before["count"] == self.count
        how = (
            f"{self.count} with other names" if renamed else f"{before['count']}, now {self.count}"
        )
        raise CheckpointError(
            f"{checkpoint} was trained on other images of {category} ({how}): restore them, or train again."
        )


@dataclass(frozen=True)
class StreamOptions:
    """The options on which the samples depend; folders may be moved.

    Attributes:
        category: See `AnomalyDataModule`, like all others.
        layout: Layout of the data set.
        seed: Seed of all draws.
        val_fraction: Share that is held out.
        augmentation: Augmentation of normal images.
        jitter_textures: Whether textures are augmented.
        foreground: None, `otsu`, or `masks` for any folder of masks.
        synthesis: Parameters of synthetic defects.
        bits: Bits that the pixels of 16-bit images use.
    """

    category: str
    layout: str
    seed: int
    val_fraction: float
    augmentation: str
    jitter_textures: bool
    foreground: str | None
    synthesis: SynthesisParams | None
    bits: int = ALL_BITS

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as checkpoints hold them."""
        state: dict[str, Any] = as_stored(asdict(self))
        # What has no effect is left out; earlier checkpoints do not have it.
        if self.synthesis is not None and self.synthesis.backend != MIXED:
            del state["synthesis"]["mixture"]
        if self.synthesis is not None and not self.synthesis.resampled:
            del state["synthesis"]["resampled"]
        return state

    def require_same_images(self, before: Mapping[str, Any], checkpoint: str) -> None:
        """Reject a second phase on other images than those of the first, in which `to_dict` gave `before`.

        Raises:
            ConfigError: That phase had another category or layout.
        """
        now = self.to_dict()
        known = {**now, "bits": ALL_BITS, **before}  # earlier versions kept the upper bits of 16
        for name in ("category", "layout", "bits"):
            if known[name] != now[name]:
                raise ConfigError(
                    f"{checkpoint} was trained with --data.{name} {known[name]}, not {now[name]}: "
                    "give one that saw the same images."
                )

    def require_held_out(self, before: Mapping[str, Any], checkpoint: str) -> None:
        """Reject validation on images that a training has seen, in which `to_dict` gave `before`.

        Raises:
            ConfigError: It held out fewer images than are held out now.
        """
        if before.get("val_fraction", 1) < self.val_fraction:
            raise ConfigError(
                f"{checkpoint} was trained with --data.val_fraction {before['val_fraction']}, not "
                f"{self.val_fraction}, which would hold out images that it was trained on: pass the same."
            )
