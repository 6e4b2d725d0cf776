"""The header of a checkpoint: everything in it except the tensors."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from padseg import __version__
from padseg.data import AnomalyDataModule
from padseg.data.depth import ALL_BITS
from padseg.data.images import Size
from padseg.metrics.calibration import Calibration
from padseg.models import NetworkOptions

_log = logging.getLogger(__name__)
HEADER_KEY = "padseg"
"""The key of padseg's part of the header in Lightning's checkpoint."""
DATA_KEY = AnomalyDataModule.__qualname__
"""The key of the state of the data module that was trained on."""
FORMAT_VERSION = 1
STORED_WEIGHTS = "stored"
"""Stands for a weight file in the options when the checkpoint itself holds the weights."""


@dataclass(frozen=True)
class Header:
    """Everything needed to rebuild the module of a checkpoint, except the weights.

    Attributes:
        class_name: `StudentDistillModule` or `SegmentationModule`.
        system: Name of the system.
        network: Options that teachers and students are built with.
        teacher_sha256: SHA-256 of the weights of the teacher, or of both teachers, in hexadecimal.
        hyper_parameters: The module's arguments, plain values.
        calibration: Thresholds; None before calibration.
        bits: Bits that the pixels of 16-bit images use, of which the upper eight are kept.
        precision: Precision of the training, such as `bf16-mixed`; None if unknown.
        subclass: Import path of the user's class that was trained instead; None for padseg's own.
        scoring: Those arguments on which scores depend and weights do not, as they were when it was saved; Lightning's
            load_from_checkpoint writes its own over the others. Empty in older checkpoints.
        data_options: Options of the data that were trained on, such as `category` and `seed`; empty if unknown.
        global_step: Number of optimiser steps; 0 in safetensors files, which do not store it.
    """

    class_name: str
    system: str
    network: NetworkOptions
    teacher_sha256: str
    hyper_parameters: Mapping[str, Any]
    calibration: Calibration | None = None
    bits: int = ALL_BITS
    precision: str | None = None
    subclass: str | None = None
    scoring: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    global_step: int = 0

    @classmethod
    def from_checkpoint(cls, checkpoint: Mapping[str, Any]) -> "Header":
        """Read the header of a checkpoint.

        Raises:
            KeyError: There is none, or a value is missing.
            TypeError: The calibration is incomplete, or the network's options are others.
        """
        own = checkpoint[HEADER_KEY]
        calibration = own.get("calibration")
        return cls(
            class_name=own["class"],
            system=own["system"],
            network=NetworkOptions.from_dict(own["network"]),
            teacher_sha256=own["teacher_sha256"],
            hyper_parameters=checkpoint["hyper_parameters"],
            calibration=None if calibration is None else Calibration.from_dict(calibration),
            bits=int(own.get("bits", ALL_BITS)),
            precision=own.get("precision"),
            subclass=own.get("subclass"),
            scoring=own.get("scoring", {}),
            data_options=checkpoint.get(DATA_KEY, {}).get("options", {}),
            global_step=int(checkpoint.get("global_step", 0)),
        )

    def calibration_for(self, image_size: Size, top_k: int) -> Calibration | None:
        """The thresholds, if they are of scores that a module with these options computes; else None, with a warning."""
        now = {"image_size": list(image_size), "top_k": top_k}
        changed = {name: was for name, was in self.scoring.items() if was != now[name]}
        if self.calibration is None or not changed:
            return self.calibration
        _log.warning(
            "The thresholds of the checkpoint are dropped, because they are for %s: set thresholds again with padseg "
            "calibrate.",
            ", ".join(f"{name} {was}, not {now[name]}" for name, was in changed.items()),
        )
        return None

    def to_checkpoint(self) -> dict[str, Any]:
        """The entries of a checkpoint that hold the header, except for the step, which Lightning writes."""
        own = {
            "format": FORMAT_VERSION,
            "version": __version__,
            "class": self.class_name,
            "system": self.system,
            "network": self.network.to_dict(),
            "teacher_sha256": self.teacher_sha256,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "bits": self.bits,
            "precision": self.precision,
            "subclass": self.subclass,
            "scoring": dict(self.scoring),
        }
        return {HEADER_KEY: own, "hyper_parameters": dict(self.hyper_parameters)}
