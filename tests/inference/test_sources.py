"""Whatever is plainly an image is scored like its file; anything else is refused plainly."""

import errno
import io
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from padseg.errors import DataError
from padseg.inference import Predictor
from padseg.inference.inputs import common_folder, find_images
from padseg.training.good_images import good_images


@pytest.fixture(scope="module")
def predictor(module) -> Predictor:
    # Convolutions round by the size of the batch.
    return Predictor(module, device="cpu", precision="32-true", batch_size=1)


@pytest.fixture(scope="module")
def path(data_root) -> Path:
    return data_root / "widget/test/spot/000.png"


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


SOURCES = {
    "str": str,
    "home": lambda path: f"~/{path.name}",
    "path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "Pillow": Image.open,
    "(H, W, 3)": pixels,
    "read-only and reversed": lambda path: pixels(path)[::-1].copy()[::-1],
    "(3, H, W)": lambda path: pixels(path).transpose(2, 0, 1),
    "RGBA": lambda path: np.asarray(Image.open(path).convert("RGBA")),
    "double tensor": lambda path: torch.tensor(pixels(path) / 255),
    "tensor (3, H, W)": lambda path: torch.tensor(pixels(path)).permute(2, 0, 1),
    "tensor (H, W, 3)": lambda path: torch.tensor(pixels(path)),
    "float tensor": lambda path: torch.tensor(pixels(path) / 255).permute(2, 0, 1).float(),
    "with gradient": lambda path: torch.tensor(pixels(path) / 255).requires_grad_(),
}


def test_brackets_in_names_of_folders_are_letters(tmp_path):
    folder = tmp_path / "lot[3]/a"
    folder.mkdir(parents=True)
    for name in ("1.png", "2.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    assert find_images([f"{tmp_path}/lot[3]/*/*.png"]) == [folder / "1.png", folder / "2.png"]
    assert find_images([f"{tmp_path}/lot[3]/**/[2-9].png"]) == [folder / "2.png"]
    assert common_folder([], [f"{tmp_path}/lot[3]/*/*.png"]) == tmp_path / "lot[3]"
    (tmp_path / "lot3").mkdir()
    with pytest.raises(DataError, match="no file matches"):
        find_images([f"{tmp_path}/lot[3]/*.png"])


def test_images_in_other_formats_are_named(tmp_path, caplog):
    (tmp_path / "phone").mkdir()
    for name in ("1.png", "2.gif", "phone/3.HEIC", "notes.pdf"):
        (tmp_path / name).touch()
    for find in (find_images, lambda folders: good_images([*map(Path, folders)])):
        caplog.clear()
        assert find([str(tmp_path)]) == [tmp_path / "1.png"]
        (message,) = caplog.messages
        assert message.startswith("Left out: 2 images in other formats, such as ")
        assert "; padseg reads .bmp, .jpeg" in message


def test_images_that_are_left_out_by_their_names_are_told(tmp_path, caplog):
    for name in ("1.png", "recycled/2.png", "thumbs/3.png", "thumb_1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "@eaDir").mkdir()  # empty
    for find in (find_images, lambda folders: good_images([*map(Path, folders)])):
        caplog.clear()
        assert find([str(tmp_path)]) == [tmp_path / "1.png", tmp_path / "recycled/2.png"]
        (message,) = caplog.messages
        assert message.startswith(
            "Left out, because of a name like that of a thumbnail or a copy: "
        )
        assert message.endswith(" (and 1 more); rename it if it shows parts.")


def test_an_unreadable_folder_of_the_system_is_no_obstacle(tmp_path, monkeypatch, caplog):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "1.png").touch()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_images([tmp_path]) == good_images([tmp_path]) == [tmp_path / "1.png"]
    assert not caplog.messages


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_file_in_a_folder_that_cannot_be_searched_is_left_to_its_reader(tmp_path, monkeypatch):
    def forbidden(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Path, "is_file", forbidden)
    monkeypatch.setattr(Path, "open", forbidden)
    assert find_images([tmp_path], {}) == [tmp_path / "a.png"]


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_is_scored_like_its_file(kind, predictor, path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    expected = predictor(path)
    found = predictor(SOURCES[kind](path))
    assert found.image_score == expected.image_score
    np.testing.assert_array_equal(found.score_map, expected.score_map)
    np.testing.assert_array_equal(found.image, expected.image)
    several = predictor([SOURCES[kind](path), path])
    assert [one.image_score for one in several] == [expected.image_score] * 2


@pytest.mark.parametrize("shape", [(72, 72), (72, 72, 1), (1, 72, 72)])
def test_grey_of_any_shape(shape, predictor, path):
    grey = np.array(Image.open(path).convert("L"))
    expected = predictor(Image.fromarray(grey)).image_score
    assert predictor(grey.reshape(shape)).image_score == expected
    assert predictor(torch.from_numpy(grey).reshape(shape)).image_score == expected


def test_a_tensor_of_half_the_bits_is_scored_like_one_of_all(predictor):
    half = torch.rand(3, 72, 72, generator=torch.manual_seed(0)).bfloat16()
    assert predictor(half).image_score == predictor(half.float()).image_score


def test_an_image_that_is_given_several_times(predictor, tmp_path):
    path = tmp_path / "large.png"  # that takes its time
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)).save(path)
    expected = predictor(path)
    for found in predictor([Image.open(path)] * 4):
        assert np.array_equal(found.score_map, expected.score_map)


@pytest.mark.parametrize("kind", ["array", "tensor", "bytearray", "memoryview", "BytesIO"])
def test_memory_that_is_reused_for_the_next_image(kind, predictor):
    frames = np.random.default_rng(0).integers(0, 256, (9, 72, 72, 3), np.uint8)
    files = []
    for frame in frames:
        Image.fromarray(frame).save(file := io.BytesIO(), "BMP")
        files.append(file.getvalue())

    def camera():
        array, content = np.empty_like(frames[0]), bytearray(files[0])
        memory = {
            "array": array,
            "tensor": torch.from_numpy(array),
            "bytearray": content,
            "memoryview": memoryview(content),
            "BytesIO": (stream := io.BytesIO()),
        }
        for frame, file in zip(frames, files, strict=True):
            array[:] = frame
            content[:] = file
            stream.seek(0)
            stream.write(file)
            yield memory[kind]

    for found in (predictor(camera()), [*predictor.stream(camera())]):
        assert all(
            np.array_equal(one.image, frame) for one, frame in zip(found, frames, strict=True)
        )


def test_a_batch_is_several_images(predictor, data_root):
    paths = sorted((data_root / "widget/test/spot").iterdir())
    expected = [one.image_score for one in predictor(paths)]
    batch = np.stack([pixels(path) for path in paths])
    for given in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2), (one for one in batch)):
        assert [one.image_score for one in predictor(given)] == expected


def test_a_batch_of_grey_images_has_a_channel(predictor):
    grey = np.random.default_rng(0).integers(0, 256, (3, 40, 40), np.uint8)
    expected = [one.image_score for one in predictor([*grey])]
    for given in (grey[:, None], grey[..., None], torch.from_numpy(grey[:, None])):
        assert [one.image_score for one in predictor(given)] == expected


# The header of a bitmap of 100,000 by 100,000 pixels.
LARGE = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 10**5, 10**5, 1, 24, *6 * [0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b"", "of no known format"),
        (b"no image", "of no known format"),
        (io.BytesIO(b"no image"), "of no known format"),
        (LARGE, "exceeds limit of 2147483648 pixels"),
        (None, "NoneType is not an image"),
        (5, "int is not an image"),
        ({"image": 1}, "dict is not an image"),
        ([None], "NoneType is not an image"),
        (np.zeros((8, 8, 3), np.int64), "int64 and shape (8, 8, 3) is not an image"),
        (np.zeros((5, 8, 8), np.uint8), "several grey ones as (B, 1, H, W)"),
        (np.zeros((8, 8, 5), np.uint8), "uint8 and shape (8, 8, 5) is not an image"),
        (torch.zeros(8), "torch.float32 and shape (8,) is not an image"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.full((8, 8, 3), 0.5), "float64 and shape (8, 8, 3) is not an image"),
        (torch.full((8, 8, 3), 200.0), "from 200 to 200: scale them"),
        (torch.full((3, 8, 8), -1.0), "from -1 to -1: scale them"),
        (torch.full((3, 8, 8), torch.nan), "from nan to nan: scale them"),
    ],
)
def test_anything_else_is_refused(wrong, said, predictor):
    with pytest.raises(DataError) as refused:
        predictor(wrong)
    assert said in str(refused.value)
