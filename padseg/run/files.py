"""Where the files of runs lie.

OUT/results.csv                                    a row a run
OUT/<label>/<category>/seed<k>/metrics.json        the run's result, written last
/options.json        what it depends on
/<phase>.ckpt        trained weights; calibrated after training
/<phase>-resume.ckpt where the training goes on, until it has ended
/<phase>-trained.json  what the training took
/<phase>.json        the phase's result, written last
/logs/<phase>/       what was logged
"""

from dataclasses import dataclass
from pathlib import Path

METRICS_FILE = "metrics.json"
TABLE_FILE = "results.csv"


def run_folder(out: Path, label: str, category: str, seed: int) -> Path:
    """The folder of one run."""
    return out / label / category / f"seed{seed}"


def find_finished(out: Path) -> list[Path]:
    """The `metrics.json` of each finished run below a folder, in the order of their names."""
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
        """The checkpoint that a training goes on from."""
        return self.run / f"{self.phase}-resume.ckpt"

    @property
    def cost(self) -> Path:
        """What the training took."""
        return self.run / f"{self.phase}-trained.json"

    @property
    def result(self) -> Path:
        """The result, which is there once the phase is done."""
        return self.run / f"{self.phase}.json"

    @property
    def logs(self) -> Path:
        """The folder of its logs."""
        return self.run / "logs" / self.phase
