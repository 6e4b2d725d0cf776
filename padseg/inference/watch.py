"""`padseg detect --watch`: the images of a production line, each as soon as it is whole."""

import errno
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from padseg.drawing import score_words, verdict_text
from padseg.errors import DataError
from padseg.inference.arrivals import Arrivals
from padseg.inference.earlier import claimed
from padseg.inference.inputs import common_folder, name_below
from padseg.inference.outcomes import Outcome
from padseg.inference.predictor import Predictor
from padseg.inference.results import Results
from padseg.inference.tables import summary, write_tables
from padseg.inference.verdicts import warn_of_verdicts
from padseg.machine.console import say
from padseg.machine.files import NO_ROOM, absolute
from padseg.machine.signals import stop_signals

_RETRY = 10.0  # seconds until tables are tried again that could not be written
_SHARE = 20  # pauses between two writings of the tables are at least so many times as long as these

_log = logging.getLogger(__name__)


def watch(
    folders: Sequence[str | Path],
    out: Path,
    predictor: Predictor,
    *,
    outline_all: bool = False,
    overwrite: bool = False,
) -> None:
    """Score the images that are in some folders or come into them, until the process is interrupted.

    The results are those of `detect`, which may use the same folder before and after. The tables are
    whole at any time; those of very many images are written less often. Images that are done are not
    scored again, after a restart either, unless their files change or their pictures were deleted before it.

    Args:
        folders: The folders, with all subfolders.
        out: The folder for the results; see `padseg.inference.results`.
        predictor: Scores the images.
        outline_all: Whether images that are judged normal are outlined as well.
        overwrite: Whether to remove the results of earlier calls first.

    Raises:
        DataError: A folder does not exist.
        ConfigError: The folder holds results of another checkpoint or other options.
        KeyboardInterrupt: The process was interrupted, from the keyboard or by SIGTERM; everything that
            was scored is in the tables.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise DataError(
                f"{folder} is not a folder: --watch takes folders that images come into."
            )
    base = common_folder([], folders)
    warn_of_verdicts(predictor.calibration, predictor.precision, predictor.tile)
    with claimed(out, predictor, base, outline_all=outline_all, overwrite=overwrite):
        arrivals = Arrivals([absolute(folder) for folder in folders], absolute(out))
        tables = _Tables(out)
        arrivals.look()
        versions = {name_below(path, base): version for path, version in arrivals.versions()}
        with (
            Results(out, versions=versions, outline_all=outline_all, report=tables.add) as results,
            stop_signals() as stop,
        ):
            done = results.done
            say(f"Watching {base} for images ({len(done)} done before); Ctrl-C ends.")
            while not stop.wait(arrivals.pause):
                given = {path: name_below(path, base) for path in arrivals.look()}
                todo = [path for path in given if done.get(given[path]) != arrivals.version(path)]
                for path, answer in zip(todo, predictor.stream(todo), strict=True):
                    if isinstance(answer, DataError) and arrivals.retry(path):
                        continue
                    versions[given[path]] = arrivals.version(path)
                    results.add(given[path], answer)
                    if stop.asked:
                        break
                    tables.update()
                results.finish()
                if not stop.asked:
                    tables.update()
        totals = write_tables(out)
    say(summary(totals, out, predictor.calibration is not None))
    raise KeyboardInterrupt


class _Tables:
    """The tables of a folder, which are written as often as there is time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stale = True
        self._due = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Print the verdict on an image, or why there is none; `update` writes it."""
        self._stale = True
        if outcome.error is not None:
            _log.warning("%s: %s", outcome.path, outcome.error)
            return
        assert outcome.image_score is not None
        found = f"score {score_words(outcome.image_score, outcome.score)}"
        if outcome.score is not None:
            found = f"{verdict_text(outcome.anomalous)}, {found}"
        say(f"{time.strftime('%H:%M:%S')}  {outcome.path}: {found}")

    def update(self) -> None:
        """Write the tables if something is new and it is time; if that fails, warn and try again later."""
        began = time.monotonic()
        if not self._stale or began < self._due:
            return
        try:
            write_tables(self._folder)
        except OSError as error:  # Windows replaces no table that another program has open
            if error.errno in (*NO_ROOM, errno.ENOENT):
                raise
            _log.warning(
                "%s cannot be written now (%s): trying again.", error.filename, error.strerror
            )
            self._due = began + _RETRY
            return
        ended = time.monotonic()
        self._due, self._stale = ended + _SHARE * (ended - began), False
