"""`padseg detect --watch`: a folder that another program writes into."""

import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from padseg.cli import main
from padseg.inference import arrivals as arrivals_module
from padseg.inference.arrivals import Arrivals
from padseg.inference.predictor import Predictor
from padseg.inference.watch import _Tables
from padseg.machine.marks import save_marked


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def line(tmp_path, clock):
    """A folder that is watched, with the folder of results in it."""
    folder = tmp_path / "line"
    folder.mkdir()
    return folder, Arrivals([folder], folder / "out", clock)


def write(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), colour).save(path)
    return path


def looks(arrivals, clock, seconds: float = 1) -> list[Path]:
    clock.now += seconds
    return arrivals.look()


@pytest.mark.parametrize("above", [0, 1])
def test_results_may_go_to_the_watched_folder_or_around_it(above, tmp_path, clock):
    folder = tmp_path / "line/images"
    image = write(folder / "1.png")
    arrivals = Arrivals([folder], [folder, folder.parent][above], clock)
    save_marked(Image.new("RGB", (40, 40)), folder / "overlay.png")
    assert [looks(arrivals, clock) for _ in range(3)] == [[], [image], []]


def test_a_file_is_given_out_once_it_stays_the_same(line, clock):
    folder, arrivals = line
    whole = write(folder / "a/1.png").read_bytes()
    path = folder / "a/1.png"
    assert looks(arrivals, clock) == []
    for size in (10, 20, 30):
        path.write_bytes(whole[:size])
        assert looks(arrivals, clock) == []
    path.write_bytes(whole)
    assert looks(arrivals, clock) == []
    assert looks(arrivals, clock) == [path]
    assert looks(arrivals, clock) == []
    write(path, "blue")
    os.utime(path, ns=(1, 1))  # of the same size
    assert looks(arrivals, clock) == []
    assert looks(arrivals, clock) == [path]


def test_what_is_never_given_out(line, clock):
    folder, arrivals = line
    good = write(folder / "good.png")
    beside = write(folder / "outside/good.png")  # not in the folder of results
    write(folder / ".hidden.png")
    write(folder / "good_thumb.png")
    write(folder / "out/maps/x.png")
    (folder / "notes.txt").write_text("no image")
    with Image.open(good) as image:
        save_marked(image.convert("RGB"), folder / "overlay.png")
    looks(arrivals, clock)
    assert looks(arrivals, clock) == [good, beside]


def test_an_unreadable_file_is_tried_when_it_changes_and_a_last_time(line, clock):
    folder, arrivals = line
    path = folder / "1.png"
    path.write_bytes(b"half")
    looks(arrivals, clock)
    assert looks(arrivals, clock) == [path]
    assert arrivals.retry(path)
    assert looks(arrivals, clock, 10) == []
    path.write_bytes(b"half of it")
    assert looks(arrivals, clock) == []
    assert looks(arrivals, clock) == [path]
    assert arrivals.retry(path)
    assert looks(arrivals, clock, 27) == []
    assert looks(arrivals, clock, 3) == [path]
    assert not arrivals.retry(path)
    assert looks(arrivals, clock, 99) == []
    gone = write(folder / "2.png")
    looks(arrivals, clock)
    assert looks(arrivals, clock) == [gone]
    gone.unlink()
    assert arrivals.retry(gone)


def test_a_drive_that_is_away_for_a_while_is_waited_for(line, clock, caplog):
    folder, arrivals = line
    path = write(folder / "1.png")
    looks(arrivals, clock)
    assert looks(arrivals, clock) == [path]
    folder.rename(folder.with_name("away"))
    for _ in range(3):
        assert looks(arrivals, clock) == []
    assert caplog.text.count("does not exist") == 1
    folder.with_name("away").rename(folder)
    for _ in range(3):
        assert looks(arrivals, clock) == []
    new = write(folder / "2.png")
    looks(arrivals, clock)
    assert looks(arrivals, clock) == [new]


@pytest.mark.parametrize("code", [errno.EHOSTDOWN, errno.ENOTCONN, errno.EIO, errno.ESTALE])
def test_a_network_that_is_away_is_waited_for(line, clock, caplog, monkeypatch, code):
    def lost(path, *args, **options):
        raise OSError(code, os.strerror(code), str(path))

    folder, arrivals = line
    path = write(folder / "1.png")
    looks(arrivals, clock)
    assert looks(arrivals, clock) == [path]
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lost)
        patch.setattr(os, "scandir", lost)
        assert arrivals.retry(path)
        assert looks(arrivals, clock) == []
    assert caplog.text.count("Waiting for a folder") == 1
    looks(arrivals, clock)
    assert looks(arrivals, clock) == [path]


def test_a_slow_folder_is_looked_at_less_often(line, clock, monkeypatch):
    folder, arrivals = line
    write(folder / "1.png")
    looks(arrivals, clock)
    assert arrivals.pause == 1
    version = arrivals_module.file_version

    def slow(path):
        clock.now += 3
        return version(path)

    monkeypatch.setattr(arrivals_module, "file_version", slow)
    looks(arrivals, clock)
    assert arrivals.pause == 12


FAST = ("--device", "cpu", "--precision", "32-true")


windows = pytest.mark.skipif(sys.platform == "win32", reason="there, os.kill sends no signal")


def watch_while(checkpoint, folder, out, write_files, stop=signal.SIGINT, options=()) -> int:
    """Run the command while `write_files` works in a thread; then end it like a user or the system."""
    failed = []

    def work():
        try:
            write_files()
        except BaseException as error:  # noqa: BLE001 - it belongs to the main thread
            failed.append(error)
        os.kill(os.getpid(), stop)

    thread = threading.Thread(target=work)
    thread.start()
    command = ["detect", str(checkpoint), "--watch", str(folder), "--out", str(out)]
    status = main([*command, *FAST, *options])
    thread.join()
    assert failed == []
    return status


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv").set_index("path")


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def names(out: Path) -> set[str]:
    path = out / "predictions.csv"
    return set(table(out).index) if path.exists() else set()


@pytest.fixture
def quick(monkeypatch):
    """Looks every 50 ms, and gives up after half a second."""
    monkeypatch.setattr("padseg.inference.arrivals._PAUSE", 0.05)
    monkeypatch.setattr("padseg.inference.arrivals._PATIENCE", 0.5)


@pytest.fixture
def pictures(data_root) -> list[Path]:
    return sorted((data_root / "widget/test").rglob("*.png"))


@windows
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_images_are_scored_as_they_come(checkpoint, pictures, tmp_path, capsys, caplog, stop):
    folder, out = tmp_path / "line", tmp_path / "line/found"
    folder.mkdir()
    shutil.copy(pictures[0], folder / "before.png")
    loaded, partial = [], []

    def write_files():
        wait_for(lambda: names(out) == {"before.png"})
        content = pictures[-1].read_bytes()
        with (folder / "slow.png").open("wb") as file:
            for start in range(0, len(content), len(content) // 6 + 1):
                file.write(content[start : start + len(content) // 6 + 1])
                file.flush()
                time.sleep(0.15)
                partial.append(names(out))
        (folder / "broken.png").write_bytes(content[:99])
        wait_for(lambda: names(out) == {"before.png", "slow.png", "broken.png"})
        time.sleep(0.7)  # it is not tried and reported again
        loaded.append(table(out))

    assert watch_while(checkpoint, folder, out, write_files, stop) == 130
    assert all(found <= {"before.png", "slow.png"} for found in partial)
    assert "slow.png" not in partial[-2]
    written = capsys.readouterr()
    assert written.err.strip() == "padseg: interrupted; the same command resumes from here."
    assert "2 images scored in" in written.out
    assert caplog.text.count("broken.png") > 0
    reports = [record for record in caplog.records if "broken.png" in record.getMessage()]
    assert len(reports) == 1
    predictor = Predictor(checkpoint, device="cpu", precision="32-true")
    found = table(out)
    pd.testing.assert_frame_equal(found, loaded[0])
    for name, source in (("before.png", pictures[0]), ("slow.png", pictures[-1])):
        expected = predictor(source)
        assert found.loc[name, "image_score"] == pytest.approx(expected.image_score, abs=1e-6)
        verdict = "ANOMALOUS" if expected.anomalous else "NORMAL"
        assert f"{name}: {verdict}, score" in written.out
        assert (out / f"overlays/{name}.jpg").is_file()
    assert isinstance(found.loc["broken.png", "error"], str)


@windows
@pytest.mark.usefixtures("quick")
def test_tables_that_another_program_holds_are_written_later(
    checkpoint, pictures, tmp_path, caplog, monkeypatch
):
    folder, out, replace, held = tmp_path / "line", tmp_path / "found", Path.replace, []

    def hold(path, target):
        if target.name == "predictions.csv" and len(held) < 2:
            held.append(target)
            raise PermissionError(errno.EACCES, "it is open elsewhere", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", hold)
    monkeypatch.setattr("padseg.inference.watch._RETRY", 0.1)
    folder.mkdir()
    shutil.copy(pictures[0], folder / "1.png")
    assert watch_while(checkpoint, folder, out, lambda: wait_for(lambda: names(out))) == 130
    assert names(out) == {"1.png"}
    waits = [record for record in caplog.records if "trying again" in record.getMessage()]
    assert len(waits) == 2
    assert (
        f"{out / 'predictions.csv'} cannot be written now (it is open elsewhere)"
        in waits[0].getMessage()
    )


@windows
@pytest.mark.usefixtures("quick")
def test_a_restart_goes_on_and_scores_nothing_twice(checkpoint, pictures, tmp_path, monkeypatch):
    folder, out = tmp_path / "line", tmp_path / "found"
    folder.mkdir()
    scored = []
    stream = Predictor.stream

    def counted(self, images):
        images = list(images)
        scored.extend(Path(image).name for image in images)
        return stream(self, images)

    monkeypatch.setattr(Predictor, "stream", counted)

    def come(*indices):
        def write_files():
            for index in indices:
                shutil.copy(pictures[index], folder / f"{index}.png")
            wait_for(lambda: {f"{index}.png" for index in indices} <= names(out))

        return write_files

    assert watch_while(checkpoint, folder, out, come(0, 1)) == 130
    (out / "maps/0.png.png").unlink()  # the restart makes it again
    assert watch_while(checkpoint, folder, out, come(2)) == 130
    assert sorted(scored) == ["0.png", "0.png", "1.png", "2.png"]
    first = table(out)

    def change():
        wait_for(lambda: names(out) == {"0.png", "1.png", "2.png"})
        Image.new("RGB", (70, 40), "red").save(folder / "1.png")
        wait_for(lambda: table(out)["width"].get("1.png") == 70)
        shutil.copy(folder / "1.png", folder / "3.png")
        wait_for(lambda: "3.png" in names(out))

    assert watch_while(checkpoint, folder, out, change) == 130
    assert sorted(scored) == ["0.png", "0.png", "1.png", "1.png", "2.png", "3.png"]
    after = table(out)
    assert after.index.is_unique
    pd.testing.assert_frame_equal(after.loc[["0.png", "2.png"]], first.loc[["0.png", "2.png"]])
    # And `detect` takes it from there.
    assert main(["detect", str(checkpoint), str(folder), "--out", str(out), *FAST]) == 0
    assert len(scored) == 6
    pd.testing.assert_frame_equal(table(out), after)
    lines = (out / ".log-0.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["path"] for line in lines) == sorted(after.index)


@windows
@pytest.mark.usefixtures("quick")
def test_results_that_are_moved_away_are_told(checkpoint, pictures, tmp_path, capsys):
    folder, out, moved = tmp_path / "line", tmp_path / "found", tmp_path / "monday"
    folder.mkdir()
    shutil.copy(pictures[0], folder / "1.png")

    def move():
        wait_for(lambda: names(out))
        out.rename(moved)

    assert watch_while(checkpoint, folder, out, move) == 2
    assert "found was moved or deleted while it was written" in capsys.readouterr().err
    assert names(moved) == {"1.png"}
    with pytest.raises(FileNotFoundError):  # nor does it try again to write tables
        _Tables(out).update()


def test_what_is_watched_is_a_folder(checkpoint, pictures, tmp_path, capsys):
    for path in (pictures[0], tmp_path / "nothing"):
        command = ["detect", str(checkpoint), str(path), "--out", str(tmp_path / "out"), "--watch"]
        assert main([*command, *FAST]) == 2
        assert f"{path} is not a folder: --watch takes folders" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
