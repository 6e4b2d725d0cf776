"""`padseg detect` and `padseg calibrate`, which need a checkpoint and images but no data set."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from padseg.errors import CheckpointError, DataError
from padseg.inference.inputs import common_folder, find_images, name_below
from padseg.inference.predictor import Predictor, warn_of_verdicts
from padseg.inference.results import (
    OTHER_FOLDER,
    Results,
    describe,
    file_version,
    write_tables,
)
from padseg.machine.folders import locked, require_same_options
from padseg.metrics.calibration import Calibrator, warn_of_few_images
from padseg.modules.checkpoint import store_calibration


def detect(paths: Sequence[str | Path], out: Path, predictor: Predictor) -> None:
    """Score images and write the results to a folder, skipping images that are already there.

    Images whose files have changed are scored again. Results of earlier calls stay, except for images
    that could not be read.

    Args:
        paths: Image files, folders and patterns.
        out: The folder; see `padseg.inference.results`.
        predictor: Scores the images.

    Raises:
        DataError: A path does not exist, or some images cannot be read; the others are done by then.
        ConfigError: The folder holds results of another checkpoint or other options.
    """
    images = find_images(paths, leave_out=out)
    base = common_folder(images, paths)
    warn_of_verdicts(predictor.calibration, predictor.precision, predictor.tile)
    with locked(out):
        asked = describe(predictor.module, predictor.precision, predictor.tile, base)
        require_same_options(out, asked, OTHER_FOLDER)
        versions = {name_below(path, base): file_version(path) for path in images}
        with Results(out, versions=versions) as results:
            todo = [path for path in images if name_below(path, base) not in results.done]
            answers = predictor.stream(todo)
            shown = track(zip(todo, answers, strict=True), "Scoring", total=len(todo))
            for path, answer in shown:
                results.add(name_below(path, base), answer)
        scored, anomalous, broken = write_tables(out)
    told = "" if predictor.calibration is None else f"; {anomalous} of them are anomalous"
    Console(markup=False).print(
        f"{scored} images are scored in {out}{told}.", highlight=False, soft_wrap=True
    )
    if broken:
        raise DataError(
            f"{len(broken)} of {len(broken) + scored} images cannot be read, the first being "
            f"{base / broken[0]}: see the column error of {out / 'predictions.csv'}; the others are done."
        )


def calibrate(
    checkpoint: Path, paths: Sequence[str | Path], predictor: Predictor, calibrator: Calibrator
) -> None:
    """Set the thresholds in a checkpoint from normal images; nothing else in it changes.

    Args:
        checkpoint: The checkpoint of the predictor.
        paths: Image files, folders and patterns; normal images that were not trained on.
        predictor: Scores them.
        calibrator: Chooses the thresholds.

    Raises:
        DataError: An image is missing or cannot be read; the checkpoint is unchanged.
        CheckpointError: The checkpoint is an exported one, or cannot be written.
    """
    if checkpoint.is_dir() or checkpoint.suffix == ".safetensors":
        raise CheckpointError(
            f"{checkpoint} is an export, whose thresholds are fixed: calibrate the checkpoint, and export "
            "that again."
        )
    images = find_images(paths)
    for answer in track(predictor.stream(images), "Scoring", total=len(images)):
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
    store_calibration(checkpoint, calibration)
    Console(markup=False).print(
        f"{checkpoint}: image threshold {calibration.image_threshold:.4g}, pixel threshold "
        f"{calibration.pixel_threshold:.4g}, from {calibration.normal_images} normal images.",
        highlight=False,
        soft_wrap=True,
    )
