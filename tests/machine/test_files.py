"""Folders of results."""

import pytest

from padseg.errors import ConfigError
from padseg.machine.files import claim


def test_a_claim_compares_options_within_options(tmp_path):
    options = {
        "precision": "32",
        "calibration": {"precision": "32", "threshold": 0.5},
        "tile": None,
    }
    claim(tmp_path, options, "go")
    claim(tmp_path, options, "go")
    for name, value, told in (
        ("precision", "16", "calibration precision '32' (now '16')"),
        ("threshold", 0.25, "calibration threshold 0.5 (now 0.25)"),
    ):
        with pytest.raises(ConfigError) as error:
            claim(tmp_path, options | {"calibration": options["calibration"] | {name: value}}, "go")
        assert str(error.value) == f"{tmp_path} holds results of {told}: go."
    claim(tmp_path / "none", {"calibration": None}, "go")
    with pytest.raises(ConfigError, match=r"calibration None \(now 1\)"):
        claim(tmp_path / "none", {"calibration": 1}, "go")
