"""What comes of a finding."""

from pathlib import Path
from typing import get_args

import pytest

from padseg.data.findings import SEVERITIES, Finding, Kind, Severity, raise_blocking
from padseg.errors import DataError


def test_every_kind_has_a_severity():
    assert set(SEVERITIES) == set(get_args(Kind))
    assert set(SEVERITIES.values()) == set(get_args(Severity))


def test_only_what_blocks_is_raised_and_every_file_is_named():
    harmless = [
        Finding("grey mask", Path("a"), "a is grey."),
        Finding("unused", Path("b"), "b is unused."),
    ]
    raise_blocking(harmless)
    with pytest.raises(DataError, match=r"^c is empty\.$"):
        raise_blocking([*harmless, Finding("unreadable", Path("c"), "c is empty.")])
    with pytest.raises(DataError, match=r"(?s)2 files cannot be used.*c is empty.*d has no mask"):
        raise_blocking(
            [
                Finding("unreadable", Path("c"), "c is empty."),
                *harmless,
                Finding("missing mask", Path("d"), "d has no mask."),
            ]
        )
