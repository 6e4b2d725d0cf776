"""What comes of a finding."""

from pathlib import Path

import pytest

from padseg.data.findings import Finding, raise_blocking
from padseg.errors import DataError


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
