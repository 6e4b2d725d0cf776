"""Check the test images of a category before an evaluation, and find what may distort its figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from padseg.data.duplicates import check_duplicates
from padseg.data.file_checks import check_files
from padseg.data.findings import Finding, change_figures, raise_blocking
from padseg.data.images import Size, read_pixels
from padseg.data.layouts import LAYOUTS
from padseg.data.loco import CONFIG_FILE, Saturations, read_defects, read_saturations
from padseg.data.reduction import count_masks, find_losses
from padseg.data.samples import Sample
from padseg.data.unused import check_unused
from padseg.errors import DataError
from padseg.machine.threads import map_in_threads
from padseg.metrics.evaluation import Evaluation


@dataclass(frozen=True)
class CheckedTest:
    """What a test is evaluated on.

    Attributes:
        samples: The test samples.
        evaluation: What their figures depend on besides the scores.
        saturations: See `TestDataset`.
    """

    samples: list[Sample]
    evaluation: Evaluation
    saturations: Saturations | None = None


def check_testset(
    folder: Path,
    samples: Sequence[Sample],
    layout: str,
    size: Size | None,
    *,
    bits: int | None = None,
) -> CheckedTest:
    """Check every file that a test of a category depends on, given all of its samples.

    For `size`, see `Evaluation`; with `bits`, images are decoded, see `read_pixels`.

    Raises:
        DataError: As `AnomalyDataModule.check_test`.
    """
    tested = [sample for sample in samples if sample.split == "test"]
    if not tested:
        raise DataError(
            f"{folder} holds no test images where layout {layout!r} has them: add some, which training alone does not "
            "need, or pass another --data.layout."
        )
    optional = LAYOUTS[layout].masks_optional
    read = None if bits is None else partial(read_pixels, bits=bits)
    findings = [
        *check_files(tested, masks_optional=optional, read=read),
        *check_duplicates(samples),
    ]
    raise_blocking(findings)
    masks = count_masks(tested, size)
    findings += [] if size is None else find_losses(masks, size, folder)
    saturations = read_saturations(folder)
    raise_blocking(find_unknown_defects(tested, saturations))
    findings += find_other_metric(folder, layout, saturations)
    findings += check_unused(folder, samples, layout)
    evaluation = Evaluation(size, masks, tuple(change_figures(findings)))
    return CheckedTest(tested, evaluation, saturations)


def without_masks(samples: Sequence[Sample]) -> list[Sample]:
    """The test samples of a category without their masks, which predictions do not need.

    Raises:
        DataError: There are none, or an image cannot be read; the message names every file.
    """
    tested = [replace(sample, masks=()) for sample in samples if sample.split == "test"]
    if not tested:
        raise DataError(
            "--data.category has no test images to score: add some, pass another --data.layout, or give any folder to "
            "padseg detect."
        )
    raise_blocking(check_files(tested, masks_optional=True))
    return tested


def find_unknown_defects(
    samples: Sequence[Sample], saturations: Saturations | None
) -> list[Finding]:
    """Masks that `read_defects` rejects, or that cannot be read; none without saturations."""
    if saturations is None:
        return []

    def look(mask: Path) -> Finding | None:
        try:
            read_defects([mask], saturations)
        except DataError as error:
            return Finding("mask value", mask, str(error))
        return None

    masks = [mask for sample in samples for mask in sample.masks]
    return [finding for finding in map_in_threads(look, masks) if finding is not None]


def find_other_metric(folder: Path, layout: str, saturations: Saturations | None) -> list[Finding]:
    """The finding that the data set's own metric is another one, for MVTec LOCO AD, also in layout `mvtec`."""
    if layout != "mvtec_loco" and not (folder / CONFIG_FILE).is_file():
        return []
    remedy = "compare only spro5 with published figures"
    if saturations is None:
        remedy = f"do not compare them with published ones; for sPRO, restore {CONFIG_FILE}"
    message = (
        f"{folder}: pixel figures, PRO and IAP are not the metric of MVTec LOCO, which is sPRO, and image figures "
        f"mix both kinds of anomalies, while the published ones are means over the two: {remedy}."
    )
    return [Finding("other metric", folder, message)]
