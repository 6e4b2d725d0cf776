"""The description in an exported file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from padseg import __version__
from padseg.errors import DataError
from padseg.metrics.calibration import Calibration
from padseg.models import SYSTEMS
from padseg.modules import Header
from padseg.run.files import METRICS_FILE
from padseg.run.results import RunResult


@dataclass(frozen=True)
class Description:
    """The description in an exported file.

    Attributes:
        padseg: Version of padseg that exported it.
        system: Name of the system.
        module: Class of the module.
        teacher: Names of the teachers.
        teacher_sha256: SHA-256 of the teachers' weights.
        image_size: Height and width in pixels at which the network computes.
        calibration: The thresholds; None before calibration.
        category: Category that it was trained on; None if unknown.
        data_sha256: SHA-256 of the data; None if the run is unknown.
        bits: Bits that the pixels of 16-bit images use; a reader keeps the upper eight of these.
        weights: Type of the stored weights: float32, float16 or int8.
        input: The input of the network, in words.
    """

    padseg: str
    system: str
    module: str
    teacher: list[str]
    teacher_sha256: str
    image_size: list[int]
    calibration: Calibration | None
    category: str | None
    data_sha256: str | None
    bits: int
    weights: str
    input: str = "image: RGB, uint8, (batch, height, width, 3), any batch and size"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        calibration = None if self.calibration is None else self.calibration.to_dict()
        return asdict(self) | {"calibration": calibration}


def describe(header: Header, run: RunResult | None, weights: str) -> Description:
    """Describe an export of a checkpoint; for its run, see `find_run`."""
    system = SYSTEMS[header.system]
    fingerprint = None if run is None else run.fingerprint
    return Description(
        padseg=__version__,
        system=system.name,
        module=header.class_name,
        teacher=header.network.teacher_names(system.teachers),
        teacher_sha256=header.teacher_sha256,
        image_size=list(header.hyper_parameters["image_size"]),
        calibration=header.calibration,
        category=header.data_options.get("category", None if run is None else run.category),
        data_sha256=None if fingerprint is None else fingerprint.data_sha256,
        bits=header.bits,
        weights=weights,
    )


def find_run(checkpoint: Path, header: Header) -> RunResult | None:
    """Read the metrics.json beside a checkpoint of `padseg run`; None without one, or if it is of another training."""
    beside = checkpoint.parent / METRICS_FILE
    if not beside.is_file():
        return None
    try:
        run = RunResult.read(beside)
    except DataError:  # another program's file of this name
        return None
    same_teacher = run.fingerprint is not None and (
        run.fingerprint.teacher_sha256 == header.teacher_sha256
    )
    # Checkpoints of several runs may have been gathered in one folder.
    same_data = all(
        header.data_options.get(name, of_run) == of_run
        for name, of_run in (("category", run.category), ("seed", run.seed))
    )
    return run if same_teacher and same_data and run.system == header.system else None
