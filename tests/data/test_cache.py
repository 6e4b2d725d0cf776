"""Decoded images, in memory or in a file."""

import errno
import tempfile
import weakref

import pytest
from PIL import Image

from padseg.data import AnomalyDataModule
from padseg.data.cache import ImageCache
from padseg.errors import DataError


def test_the_file_of_decoded_images_is_let_go_before_it_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    cache = ImageCache([tmp_path / "a.png"], (32, 32), 0, "Decoding")
    (folder,) = (tmp_path / "temporary").iterdir()
    mapped = weakref.ref(cache._images[0])
    cleanup, gone = cache._folder.cleanup, []
    cache._folder.cleanup = lambda: (gone.append(mapped() is None), cleanup())
    del cache
    assert gone == [True]
    assert not folder.exists()


def test_decoded_images_without_room_are_told(data_root, textures, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)  # Linux alone has it
    data = AnomalyDataModule(str(data_root), "widget", str(textures), 64, cache_limit_mb=0)
    with pytest.raises(DataError, match=r"MiB of decoded images do not fit .*No space.*TMPDIR"):
        data.setup("fit")
    monkeypatch.setattr(tempfile, "tempdir", "/there is none")
    with pytest.raises(DataError, match=r"do not fit into a temporary folder .*TMPDIR"):
        data.setup("fit")
