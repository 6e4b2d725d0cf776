"""`padseg calibrate`: the thresholds of a checkpoint, from normal images."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from padseg.data.duplicates import find_copies
from padseg.data.file_checks import check_names
from padseg.data.findings import raise_blocking
from padseg.errors import CheckpointError, DataError, count
from padseg.inference.inputs import find_images
from padseg.inference.predictor import Predictor
from padseg.inference.results import file_version
from padseg.machine.console import say
from padseg.machine.files import absolute
from padseg.machine.progress import tracked
from padseg.metrics.calibration import Calibration, Calibrator, warn_of_few_images
from padseg.modules.checkpoint import require_writable_checkpoint, store_calibration

_log = logging.getLogger(__name__)


def calibrate(
    checkpoint: Path, paths: Sequence[str | Path], predictor: Predictor, calibrator: Calibrator
) -> None:
    """Set the thresholds in a checkpoint from normal images; nothing else in it changes.

    Args:
        checkpoint: The checkpoint of the predictor.
        paths: Image files, folders and patterns; normal images that were not trained on. Of folders, only the
            good images are taken, as `padseg train` does; of copies, the first.
        predictor: Scores them.
        calibrator: Chooses the thresholds.

    Raises:
        DataError: An image is missing, cannot be read or is named like a mask; the checkpoint is unchanged.
        CheckpointError: The checkpoint is an exported one, has been replaced meanwhile, or cannot be written.
    """
    if checkpoint.is_dir() or checkpoint.suffix == ".safetensors":
        raise CheckpointError(
            f"{checkpoint} is an export, whose thresholds are fixed: calibrate the checkpoint, and export "
            "that again."
        )
    require_writable_checkpoint(checkpoint)  # before hours of scoring
    before = file_version(checkpoint)
    images = find_images(paths, good=True)
    raise_blocking(check_names(images))
    for folder in map(absolute, filter(os.path.isdir, paths)):
        below = (path.relative_to(folder) for path in images if path.is_relative_to(folder))
        if any("train" in path.as_posix().casefold().split("/")[:-1] for path in below):
            _log.warning(
                "%s: the good images in its folder train are taken. Those that were trained on score lower than new "
                "ones: for thresholds, give others.",
                folder,
            )
    # With copies, the sample would seem larger than it is.
    copies = {path for same in find_copies(images).values() for path in same[1:]}
    if copies:
        _log.warning(
            "Left out: %s of other images, such as %s.",
            count(len(copies), "copy", "copies"),
            min(copies),
        )
        images = [path for path in images if path not in copies]
    for answer in tracked(predictor.stream(images), "Scoring", len(images)):
        if isinstance(answer, DataError):
            raise answer
        scores = {
            "score_map": torch.from_numpy(answer.score_map)[None, None],
            "image_score": torch.tensor([answer.image_score]),
        }
        mask = torch.zeros(scores["score_map"].shape, dtype=torch.uint8)
        calibrator.update(scores, mask, torch.tensor([False]))
    calibration = calibrator.compute(predictor.precision, predictor.tile)
    assert calibration is not None
    warn_of_few_images(calibration)
    if file_version(checkpoint) != before:
        raise CheckpointError(f"{checkpoint} has changed meanwhile: calibrate it again.")
    store_calibration(checkpoint, calibration, shared=True)
    say(f"{checkpoint}: {describe_thresholds(calibration)}.")


def describe_thresholds(calibration: Calibration) -> str:
    """The thresholds and their origin, in words."""
    return (
        f"image threshold {calibration.image_threshold:.4g}, pixel threshold "
        f"{calibration.pixel_threshold:.4g}, from {count(calibration.normal_images, 'normal image')}"
    )
