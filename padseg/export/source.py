"""The source of an export: a checkpoint, and what is known about it."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from padseg.errors import PadsegError
from padseg.export.description import Description
from padseg.export.network import Deployed
from padseg.metrics.calibration import Calibration
from padseg.modules.checkpoint import Checkpoint
from padseg.modules.loading import build_module
from padseg.run.results import RunResult

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSource:
    """A checkpoint to export.

    Attributes:
        path: Path of the checkpoint.
        checkpoint: Its content, see `padseg.modules.loading.read_any`.
        description: The description for the exported file.
        run: The run that trained it, if known.
        half: Whether to store the weights in float16.
        int8_images: Images on which to measure the ranges of 8-bit convolutions; none for float32.
        license: Identifier of the licence for a model card; None for that of the teacher.
    """

    path: Path
    checkpoint: Checkpoint
    description: Description
    run: RunResult | None = None
    half: bool = False
    int8_images: Sequence[Path] = ()
    license: str | None = None

    @property
    def described(self) -> str:
        """The description as JSON, for the file."""
        return json.dumps(self.description.to_dict())

    def require_own(self, out: Path) -> None:
        """Refuse, before a long conversion, an existing file without this description.

        Raises:
            PadsegError: There is such a file.
        """
        spellings = (self.described, escape(self.described, {'"': "&quot;"}))  # also of XML
        if out.exists() and not any(one.encode() in out.read_bytes() for one in spellings):
            raise other_content(out)

    def network(self) -> Deployed:
        """The network to deploy; warns if its verdicts differ from the module's."""
        module = build_module(self.checkpoint, self.path)
        if module.calibration is not None:
            _warn_of_verdicts(module.calibration)
        return Deployed(module, self.half).eval()


def other_content(path: Path) -> PadsegError:
    """The error about a file that would be overwritten."""
    return PadsegError(f"{path} exists with other content: remove it or pass another --out.")


def _warn_of_verdicts(calibration: Calibration) -> None:
    """Warn if the thresholds were set on other kinds of scores than the exported network's."""
    if calibration.tile is not None:
        _log.warning(
            "The thresholds were set with --tile %s, but the exported network takes whole images, so it gives "
            "no verdicts: set them without --tile, with padseg calibrate.",
            calibration.tile,
        )
    elif calibration.precision not in (None, "32-true"):
        _log.warning(
            "The thresholds were set in %s, but the exported network computes in float32: verdicts of scores "
            "near the threshold may differ; padseg calibrate --precision 32-true sets them anew.",
            calibration.precision,
        )
