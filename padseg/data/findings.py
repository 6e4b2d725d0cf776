"""Findings about a data set, one record per file, and the error that lists them."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from padseg.errors import DataError

# Results would be wrong, so training and test reject the data set.
Blocking = Literal[
    "not listed",
    "unreadable",
    "own picture",
    "mask as image",
    "missing mask",
    "mask size",
    "mask pages",
    "mask value",
    "empty mask",
    "marked good",
    "inverted masks",
    "two parts",
]
# A figure may differ from the right one.
ChangesFigures = Literal[
    "grey mask",
    "large mask",
    "shared mask",
    "one name",
    "lost regions",
    "other metric",
    "several pages",
    "lost link",
    "duplicate",
    "orphan mask",
    "no masks",
    "one-sided test",
    "dark",
]
# No effect on results.
Note = Literal["no test images", "unused", "left out"]
Kind = Literal[Blocking, ChangesFigures, Note]
Severity = Literal["blocks", "changes figures", "note"]

SEVERITIES: dict[Kind, Severity] = {
    **dict.fromkeys(get_args(Blocking), "blocks"),
    **dict.fromkeys(get_args(ChangesFigures), "changes figures"),
    **dict.fromkeys(get_args(Note), "note"),
}

_log = logging.getLogger(__name__)
_warned: set[str] = set()


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


def change_figures(findings: Iterable[Finding]) -> list[str]:
    """What may change figures: one message per kind, the first finding's, with how many more there are."""
    by_kind: dict[Kind, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "changes figures":
            by_kind.setdefault(finding.kind, []).append(finding)
    return [
        found[0].message
        + (f" (And {len(found) - 1} more like this: see padseg check.)" if len(found) > 1 else "")
        for found in by_kind.values()
    ]


def warn_each_once(messages: Iterable[str]) -> None:
    """Log each message once in the process: a run checks its test images several times."""
    for message in messages:
        warn_once(message, message)


def warn_once(key: str, message: str) -> None:
    """Log a warning the first time its key occurs in the process."""
    if key not in _warned:
        _warned.add(key)
        _log.warning("%s", message)


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
