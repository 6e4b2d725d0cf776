"""Damaged input of any kind leads to one of padseg's own errors or to a result, never to a crash."""

import contextlib
import io
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from padseg.data import AnomalyDataModule
from padseg.data.archives import unpack
from padseg.data.check import check_category
from padseg.data.file_checks import check_files
from padseg.data.images import image_shape, read_image, read_pixels
from padseg.data.layouts import list_samples
from padseg.data.masks import is_empty_mask, read_masks
from padseg.data.samples import Sample
from padseg.errors import PadsegError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8)
MASK = (PIXELS[..., 0] > 200).astype(np.uint8) * 255
TABLE = pd.DataFrame(
    {
        "path": ["a/train/0.png", "a/train/1.png", "a/test/0.png"],
        "split": ["train", "train", "test"],
        "label": ["good", "good", "dent"],
        "mask": ["", "", "a/mask/0.png"],
        "category": ["a", "a", "a"],
    }
)


def image(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("a/b.txt", b"b" * 300)
            made.writestr("a/c/d.txt", b"d" * 300)
    else:
        with tarfile.open(fileobj=buffer, mode=kind) as made:
            for name in ("a/b.txt", "a/c/d.txt"):
                member = tarfile.TarInfo(name)
                member.size = 300
                made.addfile(member, io.BytesIO(b"b" * 300))
    return buffer.getvalue()


IMAGES = {
    "rgb.png": image(PIXELS, "PNG"),
    "grey16.png": image(PIXELS[..., 0].astype(np.uint16) * 257, "PNG"),
    "rgb.jpg": image(PIXELS, "JPEG"),
    "progressive.jpg": image(PIXELS, "JPEG", progressive=True),
    "rgb.tif": image(PIXELS, "TIFF"),
    "lzw.tif": image(PIXELS, "TIFF", compression="tiff_lzw"),
    "float.tif": image(PIXELS[..., 0].astype(np.float32), "TIFF"),
    "rgb.bmp": image(PIXELS, "BMP"),
    "rgb.webp": image(PIXELS, "WEBP"),
    "mask.png": image(MASK, "PNG"),
    "mask.bmp": image(MASK, "BMP"),
}
TABLES = {"samples.csv": TABLE.to_csv(index=False).encode(), "samples.parquet": TABLE.to_parquet()}
ARCHIVES = {kind: archive(kind) for kind in ("w", "w:gz", "w:xz", "zip")}


def mutate(rng: np.random.Generator, content: bytes) -> bytes:
    """One to four random damages: bytes changed, cut out, doubled, zeroed or lost at the end."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(data) + 1) if rng.random() < 0.6 else rng.integers(64))
        length = int(rng.integers(1, 2 ** int(rng.integers(1, 8))))
        match rng.integers(7):
            case 0:
                data[at : at + length] = rng.bytes(len(data[at : at + length]))
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case 3:
                data[at : at + length] = bytes(len(data[at : at + length]))
            case 4:
                data[at : at + 4] = b"\xff" * len(data[at : at + 4])
            case 5:
                del data[at:]
            case 6:
                words = (b",", b"\n", b'"', b"../", b"\0", b"train", b"\xff", "é".encode())
                data[at:at] = words[rng.integers(len(words))]
    return bytes(data)


def try_image(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    sample = Sample(path, "test", "dent", (path,))
    for call in (
        lambda: read_image(path, (32, 40)),
        lambda: read_masks([path], (32, 40)),
        lambda: image_shape(path),
        lambda: is_empty_mask(path),
        lambda: check_files([sample]),
        lambda: check_files([sample], read=read_pixels),
    ):
        with contextlib.suppress(PadsegError):
            call()


def try_table(folder: Path, name: str, content: bytes) -> None:
    root = folder / "table"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for visa in (False, True):
        path = root / ("split_csv/1cls.csv" if visa else name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        with contextlib.suppress(PadsegError):
            samples = list_samples(root, "a", "visa" if visa else "folder")
            for sample in samples:
                for file in (sample.path, *sample.masks):
                    assert ".." not in file.parts
                    assert file.is_relative_to(root)
            check_files(samples)


def try_archive(folder: Path, name: str, content: bytes) -> None:
    inner = folder / "inner"
    shutil.rmtree(inner, ignore_errors=True)
    inner.mkdir()
    (folder / "archive").write_bytes(content)
    before = set(folder.iterdir())
    with contextlib.suppress(PadsegError):
        unpack(folder / "archive", inner / "set")
    assert set(folder.iterdir()) == before
    assert {path.name for path in inner.iterdir()} <= {"set"}
    assert not any(path.is_symlink() for path in inner.rglob("*"))


TARGETS = [
    *((try_image, name, content) for name, content in IMAGES.items()),
    *((try_table, name, content) for name, content in TABLES.items()),
    *((try_archive, name, content) for name, content in ARCHIVES.items()),
]


def run_cases(folder: Path, seeds: range) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow and pandas warn of what they meet
        for number, (attempt, name, content) in enumerate(TARGETS):
            for seed in seeds:
                damaged = mutate(np.random.default_rng([number, seed]), content)
                try:
                    attempt(folder, name, damaged)
                except Exception as error:
                    error.add_note(f"target {name}, seed {seed}")
                    raise


def test_undamaged_input_passes(tmp_path):
    for name, content in IMAGES.items():
        (tmp_path / name).write_bytes(content)
        assert image_shape(tmp_path / name) == (24, 30)
        if name != "float.tif":
            read_image(tmp_path / name, (24, 30))
    for name, content in TABLES.items():
        (tmp_path / name).write_bytes(content)
        assert len(list_samples(tmp_path, "a", "folder")) == 3
        (tmp_path / name).unlink()


def test_a_hundred_damaged_files(tmp_path):
    run_cases(tmp_path, range(6))


@pytest.mark.slow
def test_thousands_of_damaged_files(tmp_path):
    run_cases(tmp_path, range(6, 406))


@pytest.mark.slow
def test_data_sets_with_a_damaged_file(data_root, textures, tmp_path):
    """As training and test meet them: nothing but padseg's error, or batches as they should be."""
    root, patterns = tmp_path / "data", tmp_path / "textures"
    shutil.copytree(data_root, root)
    shutil.copytree(textures, patterns)
    paths = sorted(path for folder in (root, patterns) for path in folder.rglob("*.png"))
    for seed in range(150):
        rng = np.random.default_rng(seed)
        path = paths[rng.integers(len(paths))]
        content = path.read_bytes()
        path.write_bytes(mutate(rng, content))
        data = AnomalyDataModule(str(root), "widget", str(patterns), image_size=32, num_workers=0)
        with contextlib.suppress(PadsegError):
            check_category(root, "widget")
        with contextlib.suppress(PadsegError):
            assert data.pairs(0, 4)["corrupted"].isfinite().all()
        with contextlib.suppress(PadsegError):
            data.setup("test")
            for batch in data.test_dataloader():
                assert set(batch["mask"].unique().tolist()) <= {0, 1}
        path.write_bytes(content)
