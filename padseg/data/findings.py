"""What is wrong with a data set, one record a file, and the error that lists it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from padseg.errors import DataError

Kind = Literal[
    "not listed",
    "unreadable",
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
# `blocks`: results would be wrong, training and test refuse the data set. `changes figures`: a figure may
# differ from what the images deserve. `note`: nothing is lost that counts.
Severity = Literal["blocks", "changes figures", "note"]

SEVERITIES: dict[Kind, Severity] = {
    "not listed": "blocks",
    "unreadable": "blocks",
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
        kind: What it is.
        file: The file or folder.
        message: A sentence that names the file and says what to do.
    """

    kind: Kind
    file: Path
    message: str

    @property
    def severity(self) -> Severity:
        """What comes of it."""
        return SEVERITIES[self.kind]

    @property
    def blocks(self) -> bool:
        """Whether training and test refuse the data set."""
        return self.severity == "blocks"


def raise_blocking(findings: Iterable[Finding]) -> None:
    """Stop before results are spoilt.

    Raises:
        DataError: Some findings block; the message names every file.
    """
    raise_problems([finding.message for finding in findings if finding.blocks])


def raise_problems(problems: Sequence[str]) -> None:
    """Raise one error for all problems, if there are any.

    Raises:
        DataError: With the sentence of the one problem, or a line each.
    """
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError("\n  ".join([f"{len(problems)} files cannot be used:", *problems]))
