"""Downloads from a local server that misbehaves as real servers do."""

import errno
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from padseg.cli import main
from padseg.data import download as module
from padseg.data.archives import unpack
from padseg.data.download import SOURCES, DataSetSource, download
from padseg.errors import ConfigError, DataError

IMAGES = {f"images/kind/{number}.jpg": bytes([number]) * 40_000 for number in range(5)}


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = tar({f"dtd/{name}": content for name, content in IMAGES.items()})


class Server(ThreadingHTTPServer):
    """Serves `content`, each answer as the next word of `script` says; then as it should.

    `cut` stops half-way through what is left, `corrupt` turns a byte, `redirect` sends elsewhere,
    `whole` ignores ranges, `no-length` does not say how much comes, `shift` answers another range, and
    a number is a status.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.script, self.ranges = content, [], []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/archive.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        word = self.server.script.pop(0) if self.server.script else ""
        if word == "redirect":
            self.send_response(302)
            self.send_header("Location", "/elsewhere.tar")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if word.isdigit():
            self.send_error(int(word))
            return
        content = self.server.content
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(content) and word != "whole":
            self.send_error(416)
            return
        if asked and word != "whole":
            self.send_response(206)
            told = start + 7 if word == "shift" else start
            self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
            body = content[start:]
        else:
            self.send_response(200)
            body = content
        if word != "no-length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if word == "cut":
            body = body[: len(body) // 2]
        if word == "corrupt":
            body = body[:99] + bytes([body[99] ^ 1]) + body[100:]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(ARCHIVE) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(module, "_PAUSES", (0, 0, 0))
        publish(monkeypatch, server)
        yield server
        server.shutdown()


def publish(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    digest = hashlib.sha256(server.content).hexdigest()
    source = DataSetSource(
        server.url, digest, "https://example.org/dtd", "For research.", "--textures"
    )
    monkeypatch.setitem(SOURCES, "dtd", source)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".dtd.lock"}


def test_a_data_set_is_fetched_whole(server, tmp_path, capsys):
    (tmp_path / "dtd").mkdir()  # an empty folder is no data set
    assert main(["download", "dtd", "--root", str(tmp_path)]) == 0
    assert content(tmp_path / "dtd") == IMAGES
    assert left(tmp_path) == {"dtd"}
    out = capsys.readouterr().out
    assert "For research." in out
    assert "https://example.org/dtd" in out
    assert "dtd is complete" in out
    server.script = ["404"]
    assert main(["download", "dtd", "--root", str(tmp_path)]) == 0, "what is there is left alone"
    assert "dtd is there already, and was not checked" in capsys.readouterr().out


def test_what_a_killed_unpacking_left_goes(server, tmp_path):
    killed = tmp_path / ".dtd.unpacking/content"
    killed.mkdir(parents=True)
    download("dtd", tmp_path)
    assert content(tmp_path / "dtd") == IMAGES
    assert left(tmp_path) == {"dtd"}


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        (["redirect"], 2),
        (["cut", "cut", "cut", "cut", "cut", "cut"], 7),
        (["503", "500"], 3),
        (["cut", "whole"], 2),
        (["cut", "shift"], 3),
        (["no-length"], 1),
    ],
)
def test_what_servers_do(server, tmp_path, script, requests):
    server.script = list(script)
    download("dtd", tmp_path)
    assert content(tmp_path / "dtd") == IMAGES
    assert len(server.ranges) == requests
    if script == ["cut", "whole"]:
        assert server.ranges == [None, f"bytes={len(ARCHIVE) // 2}-"]


def test_a_second_call_resumes(server, tmp_path):
    server.script = ["cut", "404"]
    with pytest.raises(
        DataError, match=r"HTTP Error 404.*repeat the command to resume, or fetch it by hand"
    ):
        download("dtd", tmp_path)
    assert left(tmp_path) == {".dtd.part"}
    download("dtd", tmp_path)
    assert server.ranges[-1] == f"bytes={len(ARCHIVE) // 2}-"
    assert content(tmp_path / "dtd") == IMAGES


def test_a_part_that_is_whole_needs_nothing(server, tmp_path):
    (tmp_path / ".dtd.part").write_bytes(ARCHIVE)
    download("dtd", tmp_path)
    assert content(tmp_path / "dtd") == IMAGES


def test_a_part_of_something_else_is_thrown_away(server, tmp_path):
    (tmp_path / ".dtd.part").write_bytes(b"x" * (len(ARCHIVE) + 5))
    with pytest.raises(DataError, match="was deleted: repeat the command"):
        download("dtd", tmp_path)
    download("dtd", tmp_path)
    assert content(tmp_path / "dtd") == IMAGES


def test_corrupted_content_is_refused(server, tmp_path):
    server.script = ["corrupt"]
    with pytest.raises(DataError, match=r"not dtd as published: its SHA-256 is not [0-9a-f]{64}"):
        download("dtd", tmp_path)
    assert left(tmp_path) == set()


def test_a_server_that_goes_on_failing(server, tmp_path):
    server.script = ["503"] * 9
    with pytest.raises(DataError, match=r"503.*example\.org/dtd.*--archive FILE"):
        download("dtd", tmp_path)
    assert len(server.ranges) == 4


def test_no_server(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "_PAUSES", ())
    arguments = ["download", "dtd", "--root", str(tmp_path), "--url", "http://127.0.0.1:9/a"]
    assert main(arguments) == 2
    assert "fetch it by hand from" in capsys.readouterr().err
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/a"):
        with pytest.raises(DataError, match="only http and https"):
            download("dtd", tmp_path, url=url)


def test_an_archive_fetched_by_hand(server, tmp_path):
    archive = tmp_path / "mine.tar"
    with pytest.raises(DataError, match=r"mine\.tar does not exist"):
        download("dtd", tmp_path / "sets", archive)
    archive.write_bytes(ARCHIVE)
    download("dtd", tmp_path / "sets", archive)
    assert content(tmp_path / "sets/dtd") == IMAGES
    assert archive.exists()
    archive.write_bytes(ARCHIVE[:-1])
    with pytest.raises(DataError, match=r"mine\.tar is not dtd as published"):
        download("dtd", tmp_path / "others", archive)


def test_a_full_disk_is_told_at_once(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(DataError, match=r"dtd cannot be written .*No space.*pass another --root"):
        download("dtd", tmp_path)
    assert len(server.ranges) == 1


def test_a_file_is_no_data_set(server, tmp_path):
    (tmp_path / "dtd").touch()
    with pytest.raises(DataError, match="dtd is a file: move it, or pass another --root"):
        download("dtd", tmp_path)


def test_unknown_data_set(tmp_path):
    with pytest.raises(ConfigError, match="data set is 'coco'; give one of mvtec_ad"):
        download("coco", tmp_path)


def test_the_root_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        download("dtd", tmp_path / "file" / "sets")


def linked(kind: bytes, target: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("data/link")
        link.type, link.linkname = kind, target
        archive.addfile(link)
        member = tarfile.TarInfo("data/link/x")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    return buffer.getvalue()


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("data/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    return buffer.getvalue()


HOSTILE = {
    "tar-up": tar({"a": b"", "../evil": b"x"}),
    "tar-deep": tar({"a": b"", "b/../../evil": b"x"}),
    "tar-absolute": tar({"a": b"", "/tmp/padseg-evil": b"x"}),
    "tar-backslash": tar({"..\\evil": b"x"}),
    "tar-drive": tar({"C:/evil": b"x"}),
    "tar-symlink": linked(tarfile.SYMTYPE, "/tmp"),
    "tar-inner-symlink": linked(tarfile.SYMTYPE, "other"),
    "tar-hardlink": linked(tarfile.LNKTYPE, "/etc/passwd"),
    "tar-fifo": linked(tarfile.FIFOTYPE, ""),
    "tar-device": linked(tarfile.CHRTYPE, ""),
    "zip-up": zipped({"a": b"", "../evil": b"x"}),
    "zip-absolute": zipped({"/tmp/padseg-evil": b"x"}),
    "zip-drive": zipped({"C:\\evil": b"x"}),
    "zip-symlink": zip_link(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(server, tmp_path, monkeypatch, name):
    server.content = HOSTILE[name]
    publish(monkeypatch, server)
    root = tmp_path / "a" / "b"
    with pytest.raises(DataError, match=r"is not safe: its member .*(leads out|link or a device)"):
        download("dtd", root)
    assert left(root) == {".dtd.part"}
    assert [path.name for path in tmp_path.rglob("*evil*")] == []
    assert not Path("/tmp/padseg-evil").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_of_archive(tmp_path, mode):
    made = zipped(IMAGES) if mode == "zip" else tar(IMAGES, mode)
    (tmp_path / "archive").write_bytes(made)
    unpack(tmp_path / "archive", tmp_path / "set")
    assert content(tmp_path / "set") == {k.removeprefix("images/"): v for k, v in IMAGES.items()}
    for cut in (0, 10, len(made) // 2):
        (tmp_path / "archive").write_bytes(made[:cut])
        with pytest.raises(DataError, match=r"archive .* is damaged"):
            unpack(tmp_path / "archive", tmp_path / "broken")
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "set"}


def test_several_folders_stay_as_they_are(tmp_path):
    files = {"bottle/train/0.png": b"0", "cable/train/0.png": b"1", "license.txt": b"2"}
    (tmp_path / "archive").write_bytes(tar(files))
    unpack(tmp_path / "archive", tmp_path / "set")
    assert content(tmp_path / "set") == files
