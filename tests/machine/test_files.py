"""Files are written completely or not at all."""

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from padseg.machine.files import (
    CANNOT_WRITE,
    absolute,
    expanded,
    hash_file,
    require_writable,
    short_name,
    text_written_whole,
    write_bytes,
    write_json,
    write_text,
    written_whole,
)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    for writing in (written_whole(path), text_written_whole(path)):
        with pytest.raises(RuntimeError), writing as file:  # noqa: PT012
            if hasattr(file, "write"):
                file.write("half of it")
            else:
                file.write_text("half of it")
            raise RuntimeError
    with pytest.raises(ValueError, match="nan"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new folder" / "picture.png"
    with written_whole(path) as temporary:
        assert temporary.suffix == ".png"  # by which Pillow chooses the format
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with written_whole(path, durable=False) as temporary:
        temporary.write_bytes(b"newer")
        assert path.read_bytes() == b"new"
    assert path.read_bytes() == b"newer"
    assert list(path.parent.iterdir()) == [path]


def test_two_writers_at_once_leave_one_file_whole(tmp_path):
    path = tmp_path / "table.csv"
    with text_written_whole(path) as one, text_written_whole(path) as two:
        one.write("one\n")
        two.write("two\n" * 3)
    assert path.read_bytes() == b"one\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_of_a_given_name_is_replaced(tmp_path):
    path, draft = tmp_path / "a.ckpt", tmp_path / ".a.ckpt.part"
    draft.write_bytes(b"left by a killed process")
    write_bytes(path, memoryview(b"new"), draft.name)
    assert path.read_bytes() == b"new"
    assert not draft.exists()


@pytest.mark.parametrize("dangling", [False, True])
def test_the_file_behind_links_is_replaced_and_the_links_stay(dangling, tmp_path):
    target = tmp_path / "elsewhere/epoch=3.ckpt"
    target.parent.mkdir()
    if not dangling:
        target.write_bytes(b"old")
    latest, alias = tmp_path / "latest.ckpt", tmp_path / "alias.ckpt"
    latest.symlink_to("elsewhere/epoch=3.ckpt")
    alias.symlink_to(latest)
    write_bytes(alias, b"new", ".draft.part")
    assert target.read_bytes() == b"new"
    assert latest.is_symlink()
    assert alias.is_symlink()
    assert {path.name for path in tmp_path.rglob("*")} == {
        *("elsewhere", "epoch=3.ckpt", "latest.ckpt", "alias.ckpt")
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_permissions_stay(mode, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_read_only_file_is_not_replaced(through_a_link, tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"old")
    path.chmod(0o444)
    named = path
    if through_a_link:
        named = tmp_path / "link"
        named.symlink_to(path)
    with pytest.raises(PermissionError, match="read-only") as refused:
        write_bytes(named, b"new")
    assert refused.value.filename == str(named)
    assert path.read_bytes() == b"old"
    with pytest.raises(PermissionError, match="read-only"):
        require_writable(named)


def test_a_file_of_a_read_only_folder_is_not_replaced(tmp_path, monkeypatch):
    path, access = tmp_path / "a.ckpt", os.access
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda what, mode: what != tmp_path and access(what, mode))
    with pytest.raises(PermissionError, match="its folder is read-only") as refused:
        require_writable(path)
    assert refused.value.filename == str(path)


def test_a_drive_without_owners_and_permissions_is_written_again(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    path = tmp_path / "a.csv"
    path.write_text("old")
    monkeypatch.setattr(os, "chown", refuse, raising=False)
    monkeypatch.setattr(Path, "chmod", refuse)
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_step_up_behind_a_link_is_from_where_it_leads(tmp_path):
    (tmp_path / "far/inner").mkdir(parents=True)
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to(tmp_path / "far/inner")
    (tmp_path / "far/last").symlink_to(tmp_path / "near")
    assert absolute(tmp_path / "near/link/../last") == tmp_path / "far/last"
    assert absolute(tmp_path / "near/link") == tmp_path / "near/link"
    assert absolute("../a") == Path.cwd().parent / "a"
    assert absolute("") == Path.cwd()


def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe") if hasattr(os, "mkfifo") else (tmp_path / "pipe").mkdir()
    for name in ("folder", "loop", "pipe"):
        with pytest.raises(OSError, match=name) as refused:
            write_text(tmp_path / name, "new")
        assert refused.value.errno in CANNOT_WRITE
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "loop", "pipe"}


@pytest.mark.parametrize("letter", ["a", "漢"])
def test_the_longest_name_can_be_written(letter, tmp_path):
    path = tmp_path / (letter * (251 // len(letter.encode())) + ".txt")
    write_text(path, "new")
    assert path.read_text() == "new"
    too_long = tmp_path / (letter * 256)
    with pytest.raises(OSError, match=letter) as refused:
        write_text(too_long, "new")
    assert refused.value.filename == str(too_long)
    assert refused.value.errno in CANNOT_WRITE
    short = short_name(letter * 300)
    assert 190 < len(short.encode()) <= 200
    assert short_name("short") == "short"


@pytest.mark.skipif(sys.platform == "win32", reason="other systems have no such names")
def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path):
    write_text(tmp_path / "names", os.fsdecode(b"\xe4.png\r\n"))
    assert (tmp_path / "names").read_bytes() == b"\xe4.png\r\n"


def test_json_has_lines_and_an_end(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": [1, None]}
    assert text.endswith("}\n")


def test_a_hash_is_sha_256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "abc") == expected


def test_a_name_with_a_tilde_is_no_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/runs") == Path("/home/me/runs")
    assert expanded("~nobody-of-this-name/runs") == Path("~nobody-of-this-name/runs")
