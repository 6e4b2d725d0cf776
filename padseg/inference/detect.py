"""`padseg detect`: images in, files with what was found in them out."""

from collections.abc import Sequence
from pathlib import Path

from padseg.errors import DataError
from padseg.inference.earlier import claimed
from padseg.inference.inputs import common_folder, find_images, name_below
from padseg.inference.predictor import Predictor
from padseg.inference.results import Results, file_version
from padseg.inference.tables import raise_failed, summary, write_tables
from padseg.inference.verdicts import warn_of_verdicts
from padseg.machine.console import say
from padseg.machine.files import absolute
from padseg.machine.progress import tracked


def detect(
    paths: Sequence[str | Path],
    out: Path,
    predictor: Predictor,
    *,
    outline_all: bool = False,
    overwrite: bool = False,
) -> None:
    """Score images and write the results to a folder, skipping images that are already there.

    Images whose files have changed, or whose pictures are gone, are scored again. Results of earlier calls stay,
    except for images that could not be read. A file or folder that cannot be read or written is reported at the end.

    Args:
        paths: Image files, folders and patterns.
        out: The folder; see `padseg.inference.results`.
        predictor: Scores the images.
        outline_all: Whether images that are judged normal are outlined as well.
        overwrite: Whether to remove the results of earlier calls first.

    Raises:
        DataError: A path does not exist, or some images cannot be read or their results not be written;
            the others are done by then.
        ConfigError: The folder holds results of another checkpoint or other options.
    """
    unreadable: dict[Path, DataError] = {}
    images = find_images(paths, unreadable)
    base = common_folder(images, paths)
    warn_of_verdicts(predictor.calibration, predictor.precision, predictor.tile)
    with claimed(out, predictor, base, outline_all=outline_all, overwrite=overwrite):
        versions = {name_below(path, base): file_version(path) for path in images}
        with Results(out, versions=versions, outline_all=outline_all) as results:
            for folder, error in unreadable.items():
                results.add(name_below(absolute(folder), base), error)
            todo = [path for path in images if name_below(path, base) not in results.done]
            answers = predictor.stream(todo)
            shown = tracked(zip(todo, answers, strict=True), "Scoring", len(todo))
            for path, answer in shown:
                results.add(name_below(path, base), answer)
        totals = write_tables(out)
    say(summary(totals, out, predictor.calibration is not None))
    raise_failed(totals, out, base)
