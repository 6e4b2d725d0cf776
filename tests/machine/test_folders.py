"""Folders of results."""

import errno

import filelock
import pytest

from padseg.errors import ConfigError, PadsegError
from padseg.machine.folders import locked, require_same_options


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")]
)
def test_a_drive_without_locks_is_told(error, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    told = f"{tmp_path} is on a drive without file locks"
    with pytest.raises(PadsegError, match=told), locked(tmp_path):
        pytest.fail("locked")


def test_options_within_options_are_compared(tmp_path):
    options = {
        "precision": "32",
        "calibration": {"precision": "32", "threshold": 0.5},
        "tile": None,
    }
    require_same_options(tmp_path, options, "go")
    require_same_options(tmp_path, options, "go")
    for name, value, told in (
        ("precision", "16", "calibration precision '32' (now '16')"),
        ("threshold", 0.25, "calibration threshold 0.5 (now 0.25)"),
    ):
        with pytest.raises(ConfigError) as error:
            require_same_options(
                tmp_path, options | {"calibration": options["calibration"] | {name: value}}, "go"
            )
        assert str(error.value) == f"{tmp_path} holds results of {told}: go."
    require_same_options(tmp_path / "hash", {"images": 64 * "a"}, "go")
    with pytest.raises(
        ConfigError, match=r"holds results of other images \(changed since then\): go\."
    ):
        require_same_options(tmp_path / "hash", {"images": 64 * "b"}, "go")
    require_same_options(tmp_path / "none", {"calibration": None}, "go")
    with pytest.raises(ConfigError, match=r"calibration None \(now 1\)"):
        require_same_options(tmp_path / "none", {"calibration": 1}, "go")


@pytest.mark.parametrize("content", [b"", b"[1]", b"no JSON", b"\xff"])
def test_a_file_of_another_program_is_told(content, tmp_path):
    (tmp_path / "options.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"options\.json is not from padseg, or broken: move it"):
        require_same_options(tmp_path, {"tile": None}, "go")
