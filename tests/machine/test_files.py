"""Files are written completely or not at all."""

import json
import os
import sys

import pytest

from padseg.machine.files import (
    hash_file,
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


def test_a_named_temporary_file_is_replaced(tmp_path):
    path, temporary = tmp_path / "a.ckpt", tmp_path / ".a.ckpt.part"
    temporary.write_bytes(b"left by a killed process")
    write_bytes(path, memoryview(b"new"), temporary)
    assert path.read_bytes() == b"new"
    assert not temporary.exists()


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
