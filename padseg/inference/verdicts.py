"""Where the thresholds of a checkpoint do not fit the scores that are compared with them."""

import logging

from padseg.metrics.calibration import Calibration

_log = logging.getLogger(__name__)


def warn_of_verdicts(
    calibration: Calibration | None, precision: str, tile: int | None = None
) -> None:
    """Warn if there are no thresholds, or if they were set for other kinds of scores."""
    if calibration is None:
        _log.warning(
            "The checkpoint has no thresholds, so there are scores but no verdicts: set them with "
            "padseg calibrate CKPT FOLDER, on normal images."
        )
    elif calibration.tile != tile:
        _log.warning(
            "The thresholds were set %s, these images are scored %s, so that verdicts may be wrong: set the "
            "thresholds with padseg calibrate as images are scored.",
            _tiled(calibration.tile),
            _tiled(tile),
        )
    elif calibration.precision not in (None, precision):
        _log.warning(
            "The thresholds were set in %s, these images are scored in %s, so that verdicts of scores near "
            "a threshold may differ: score in the former, or set the thresholds anew with padseg calibrate.",
            calibration.precision,
            precision,
        )


def _tiled(tile: int | None) -> str:
    return "without tiles" if tile is None else f"with --tile {tile}"
