"""The mark by which padseg knows the pictures that it wrote."""

import shutil

import numpy as np
import pytest
from PIL import Image

from padseg.data.image_files import IMAGE_SUFFIXES, list_images
from padseg.machine.marks import is_marked, save_marked

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES | {".gif", ".ppm"}))
def test_each_format_holds_the_mark_and_the_same_pixels(suffix, tmp_path):
    pixels = RNG.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    for size in (1, 90):
        picture = Image.fromarray(pixels[:size, :size])
        save_marked(picture, tmp_path / f"marked{suffix}")
        picture.save(tmp_path / f"plain{suffix}")
        shutil.move(tmp_path / f"marked{suffix}", tmp_path / f"renamed{suffix}")
        assert is_marked(tmp_path / f"renamed{suffix}")
        assert not is_marked(tmp_path / f"plain{suffix}")
        with (
            Image.open(tmp_path / f"renamed{suffix}") as marked,
            Image.open(tmp_path / f"plain{suffix}") as plain,
        ):
            assert marked.mode == plain.mode
            np.testing.assert_array_equal(np.asarray(marked), np.asarray(plain))


def test_the_mark_may_lie_anywhere_at_the_end(tmp_path):
    for width in range(650, 720, 8):
        save_marked(Image.new("L", (width, 1)), tmp_path / "small.ppm")
        save_marked(Image.new("RGB", (width, 1)), tmp_path / "small.bmp")
        assert is_marked(tmp_path / "small.ppm")
        assert is_marked(tmp_path / "small.bmp")


def test_what_cannot_be_read_has_no_mark(tmp_path):
    assert not is_marked(tmp_path / "missing.png")
    assert not is_marked(tmp_path)
    (tmp_path / "empty.png").touch()
    assert not is_marked(tmp_path / "empty.png")
    assert list_images(tmp_path) == [tmp_path / "empty.png"]
