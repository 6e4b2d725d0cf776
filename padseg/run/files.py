"""The paths of the files of runs.

OUT/results.csv                  one row per run
OUT/<label>/<category>/seed<k>/  the folder of a run
    metrics.json                 its result, written last
    options.json                 what it depends on
    <phase>.ckpt                 trained weights; calibrated after training
    <phase>-resume.ckpt          where the training resumes; removed when it ends
    <phase>-trained.json         the cost of the training
    <phase>.json                 the phase's result, written last
    logs/<phase>/                what was logged

<phase> is `distill` or `segment`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

METRICS_FILE = "metrics.json"
TABLE_FILE = "results.csv"
_SEED = re.compile(r"seed(0|[1-9][0-9]*)")


def run_folder(out: Path, label: str, category: str, seed: int) -> Path:
    """The folder of one run."""
    return out / label / category / f"seed{seed}"


def find_finished(out: Path) -> list[Path]:
    """The `metrics.json` of each finished run below a folder, in the order of their names."""
    return [path for path in _find(out) if _SEED.fullmatch(path.parent.name)]


def find_copies(out: Path) -> list[Path]:
    """Folders such as `seed0-old` that hold a `metrics.json` and do not have the name of a run."""
    return [path.parent for path in _find(out) if not _SEED.fullmatch(path.parent.name)]


def _find(out: Path) -> list[Path]:
    return sorted(out.glob(f"*/*/seed*/{METRICS_FILE}"))


@dataclass(frozen=True)
class PhaseFiles:
    """The files of one phase of a run.

    Attributes:
        run: Folder of the run.
        phase: `distill` or `segment`.
    """

    run: Path
    phase: str

    @property
    def checkpoint(self) -> Path:
        """The trained weights."""
        return self.run / f"{self.phase}.ckpt"

    @property
    def resume(self) -> Path:
        """The checkpoint from which a training resumes."""
        return self.run / f"{self.phase}-resume.ckpt"

    @property
    def cost(self) -> Path:
        """The cost of the training."""
        return self.run / f"{self.phase}-trained.json"

    @property
    def result(self) -> Path:
        """The result, which exists once the phase is finished."""
        return self.run / f"{self.phase}.json"

    @property
    def logs(self) -> Path:
        """The folder of its logs."""
        return self.run / "logs" / self.phase
