"""Findings about a data set, one record per file, and the error that lists them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from padseg.errors import DataError

Kind = Literal[
    "not listed",
    "unreadable",
    "own picture",
    "missing mask",
    "mask size",
    "empty mask",
    "grey mask",
    "train and test",
    "duplicate",
    "orphan mask",
    "unused",
    "no masks",
    "no test images",
    "one-sided test",
    "dark",
]
# `blocks`: results would be wrong, so training and test reject the data set. `changes figures`: a figure
# may differ from the right one. `note`: no effect on results.
Severity = Literal["blocks", "changes figures", "note"]

SEVERITIES: dict[Kind, Severity] = {
    "not listed": "blocks",
    "unreadable": "blocks",
    "own picture": "blocks",
    "missing mask": "blocks",
    "mask size": "blocks",
    "empty mask": "blocks",
    "train and test": "blocks",
    "grey mask": "changes figures",
    "duplicate": "changes figures",
    "orphan mask": "changes figures",
    "no masks": "changes figures",
    "one-sided test": "changes figures",
    "dark": "changes figures",
    "no test images": "note",
    "unused": "note",
}


@dataclass(frozen=True)
class Finding:
    """Something wrong with a data set.

    Attributes:
        kind: The kind of finding.
        file: The file or folder.
        message: A sentence that names the file and says what to do.
    """

    kind: Kind
    file: Path
    message: str

    @property
    def severity(self) -> Severity:
        """Its consequences."""
        return SEVERITIES[self.kind]

    @property
    def blocks(self) -> bool:
        """Whether training and test reject the data set."""
        return self.severity == "blocks"


def raise_blocking(findings: Iterable[Finding]) -> None:
    """Raise an error if findings would make results wrong.

    Raises:
        DataError: Some findings block; the message names every file.
    """
    raise_problems([finding.message for finding in findings if finding.blocks])


def raise_problems(problems: Sequence[str]) -> None:
    """Raise one error for all problems, if there are any.

    Raises:
        DataError: With the message of the only problem, or with one line for each.
    """
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError("\n  ".join([f"{len(problems)} files cannot be used:", *problems]))
