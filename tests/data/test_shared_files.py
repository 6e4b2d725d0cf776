"""Decoded images in a file that processes and later trainings share."""

import errno
import os
import pickle
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from PIL import Image

from padseg.data import cache as cache_module
from padseg.data import shared_files
from padseg.data.cache import ImageCache
from padseg.data.images import read_image
from padseg.errors import DataError

SIZE = (32, 40)
BYTES = 3 * 32 * 40 * 3  # of a set
MIB = 2**20


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of the shared files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(cache_module, "_WORTH_A_FILE", 0)
    return temporary / f"padseg-decoded-{os.getuid()}"


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """Every file that is decoded."""
    seen: list[Path] = []

    def read(path: Path, *args: object) -> np.ndarray:
        seen.append(path)
        return read_image(path, *args)

    monkeypatch.setattr(cache_module, "read_image", read)
    return seen


def pictures(folder: Path, seed: int = 0) -> list[Path]:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    paths = [folder / f"{index}.png" for index in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(path)
    return paths


def make(paths: list[Path], limit: float = BYTES, **options: object) -> ImageCache:
    return ImageCache(paths, SIZE, limit / MIB, "Decoding", **options)


def in_file(cache: ImageCache, folder: Path) -> bool:
    return cache._file is not None and cache._file.parent == folder


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.images"))


def test_a_set_is_decoded_once(tmp_path, folder, decoded):
    paths = pictures(tmp_path / "a")
    first, second = make(paths), make(paths, in_memory=False)
    assert len(decoded) == 3
    assert in_file(first, folder)
    assert in_file(second, folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for cache in (first, second, pickle.loads(pickle.dumps(second))):
        for index, path in enumerate(paths):
            assert np.array_equal(cache[index], read_image(path, SIZE))
    assert len(pickle.dumps(second)) < 1000
    second[0][:] = 0  # a copy
    assert second[0].any()
    del first, second
    make(paths)
    assert len(decoded) == 3


def test_a_changed_image_is_decoded_again(tmp_path, folder, decoded):
    paths = pictures(tmp_path / "a")
    make(paths)
    status, content = paths[1].stat(), bytearray(paths[1].read_bytes())
    Image.new("RGB", (50, 60), "red").save(tmp_path / "red.png")
    red = (tmp_path / "red.png").read_bytes()
    paths[1].write_bytes(red + bytes(len(content) - len(red)))
    os.utime(paths[1], ns=(status.st_atime_ns, status.st_mtime_ns))  # as a copying tool does
    assert paths[1].stat().st_size == status.st_size
    assert make(paths, 2 * BYTES)[1][0, 0].tolist() == [255, 0, 0]


def test_other_sizes_bits_and_orders_are_other_files(tmp_path, folder, decoded):
    paths = pictures(tmp_path / "a")
    limit = 100 * BYTES
    caches = [
        make(paths, limit),
        make(paths, limit, bits=12),
        make(paths[::-1], limit),
        ImageCache(paths, SIZE[::-1], limit / MIB, "Decoding"),
    ]
    assert len(kept(folder)) == len(caches)
    assert len(decoded) == 3 * len(caches)


def test_another_version_decodes_again(tmp_path, folder, decoded, monkeypatch):
    paths = pictures(tmp_path / "a")
    make(paths, 2 * BYTES)
    monkeypatch.setattr(shared_files, "__version__", "another")
    make(paths, 2 * BYTES)
    assert len(decoded) == 6


def test_processes_that_begin_together_decode_once(tmp_path, folder, decoded):
    paths, begin = pictures(tmp_path / "a"), Barrier(4)

    def one(_: int) -> ImageCache:
        begin.wait()
        return make(paths)

    with ThreadPoolExecutor(4) as pool:  # file locks keep threads apart like processes
        caches = list(pool.map(one, range(4)))
    assert len(decoded) == 3
    assert all(in_file(cache, folder) for cache in caches)


def age(cache: ImageCache, seconds: int) -> None:
    """Set when a file was used last, counted from 1970."""
    os.utime(cache._file, (seconds, seconds))


def test_the_oldest_unused_set_makes_room(tmp_path, folder, decoded):
    a, b, c, d = (pictures(tmp_path / str(number), number) for number in range(4))
    limit = 2 * BYTES
    age(make(a, limit), 1)
    age(make(b, limit), 2)
    make(a, limit)  # now b is the oldest
    used = make(c, limit)
    make(a, limit)
    assert len(decoded) == 9
    assert len(kept(folder)) == 2
    age(used, 1)
    other = make(b, limit)
    assert len(decoded) == 12
    assert used._file.exists(), "it is in use, although it is the oldest"
    assert not in_file(make(d, limit), folder), "both others are in use"
    assert kept(folder) == sorted([used._file, other._file])
    assert len(list(folder.glob("*.lock"))) == 4, "another process may be waiting for one"


def test_what_a_killed_process_left_makes_room(tmp_path, folder):
    make(pictures(tmp_path / "a"))
    kept(folder)[0].rename(folder / f"draft-{'0' * 32}.images")
    assert in_file(make(pictures(tmp_path / "b", 1)), folder)
    assert len(kept(folder)) == 1


def test_a_file_of_another_length_is_replaced(tmp_path, folder, decoded):
    paths = pictures(tmp_path / "a")
    make(paths)
    kept(folder)[0].write_bytes(b"cut")
    assert make(paths, 2 * BYTES)[0].any()
    assert len(decoded) == 6


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def others_can_write(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def is_a_link(folder: Path) -> None:
    folder.with_name("elsewhere").mkdir(0o700)
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize("prepare", [others_can_write, is_a_link, Path.touch])
def test_a_folder_of_others_is_not_used(tmp_path, folder, prepare):
    prepare(folder)
    cache = make(pictures(tmp_path / "a"))
    assert cache._file is None
    assert cache[0].any()
    assert not folder.is_dir() or not any(folder.iterdir())


@pytest.mark.parametrize("in_memory", [True, False])
def test_without_room_images_stay_with_the_process(tmp_path, folder, monkeypatch, in_memory):
    with monkeypatch.context() as patch:
        patch.setattr(shared_files, "reserve", full)
        cache = make(pictures(tmp_path / "a"), in_memory=in_memory)
    assert not in_file(cache, folder)
    assert (cache._file is None) == in_memory
    assert cache[0].any()
    usage = shared_files.shutil.disk_usage(tmp_path)._replace(free=2 * BYTES - 1)
    monkeypatch.setattr(shared_files.shutil, "disk_usage", lambda _: usage)
    assert not in_file(make(pictures(tmp_path / "b")), folder)


def test_a_broken_image_leaves_no_file(tmp_path, folder):
    paths = pictures(tmp_path / "a")
    paths[1].write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png"):
        make(paths)
    assert not kept(folder)
    paths[1].unlink()
    with pytest.raises(DataError, match=r"1\.png does not exist"):
        make(paths)


def test_small_sets_and_those_above_the_limit_are_not_shared(tmp_path, folder, monkeypatch):
    paths = pictures(tmp_path / "a")
    assert not in_file(make(paths, BYTES - 1), folder)
    monkeypatch.setattr(cache_module, "_WORTH_A_FILE", BYTES + 1)
    assert make(paths)._file is None
    assert not folder.exists()
