"""Images of 9 to 16 bits: the same picture whatever bits their files have."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from padseg.data import AnomalyDataModule, findings
from padseg.data.images import decode, measure_bits
from padseg.errors import ConfigError, DataError
from padseg.inference.images import load_rgb

from .conftest import SIZE, png_chunk

SCRIPT = Path(__file__).parents[2] / "notebooks/detect_onnx.py"


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_grey_images_of_any_depth_are_one_picture(tmp_path, grey, name, bits):
    Image.fromarray(grey.astype(np.uint16) << (bits - 8) | 1).save(tmp_path / name)
    assert measure_bits([tmp_path / name]) == bits
    assert np.array_equal(decode(tmp_path / name, bits), np.dstack([grey] * 3))
    for loaded in (False, True):
        image = Image.open(tmp_path / name)
        if loaded:
            image.load()
        assert np.array_equal(load_rgb(image, bits), np.dstack([grey] * 3))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_any_depth_are_one_picture(tmp_path, name, bits):
    colours = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint16)
    colours[0, 0] = 255
    path = tmp_path / name
    cv2.imwrite(str(path), (colours << (bits - 8) | 1)[..., ::-1])  # Pillow writes none
    assert measure_bits([path]) == bits
    assert np.array_equal(decode(path, bits), colours)
    image = Image.open(path)
    image.load()
    assert np.array_equal(load_rgb(image, bits), colours)
    changed = image.copy()
    changed.filename = str(path)
    changed.putpixel((0, 0), (0, 0, 0))
    assert np.asarray(load_rgb(changed, bits))[0, 0].max() == 0


def write_grey_alpha(path: Path, grey: np.ndarray, orientation: int = 1) -> None:
    """A PNG of grey with transparency in 16 bits, which neither Pillow nor OpenCV writes."""
    rows = np.dstack([grey, np.full_like(grey, 40_000)]).astype(">u2")
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 16, 4, 0, 0, 0)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = png_chunk(b"IHDR", head) + png_chunk(
        b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")
    )
    content += png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + png_chunk(b"IEND", b""))


@pytest.mark.parametrize("bits", [12, 16])
def test_grey_with_transparency_is_the_same_picture(tmp_path, grey, bits):
    path = tmp_path / "a.png"
    write_grey_alpha(path, grey.astype(np.uint16) << (bits - 8) | 1)
    assert measure_bits([path]) == bits
    expected = np.dstack([grey] * 3)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path)):
        assert np.array_equal(load_rgb(source, bits), expected)
    write_grey_alpha(path, grey.astype(np.uint16) << (bits - 8), orientation=6)
    assert np.array_equal(decode(path, bits), np.rot90(expected, -1))


def test_a_deep_picture_that_was_decoded_elsewhere_is_told(tmp_path, caplog):
    """Pillow has kept the upper eight bits, which are nearly none of 12."""
    findings._warned.clear()
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((*SIZE, 3), 4095, np.uint16))
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    load_rgb(image, 12)
    assert "give the file: Pillow keeps their upper eight, and" in caplog.text


def _write_signed(path, values: np.ndarray) -> None:
    """A TIFF of int16: one of uint16 in which a tag that readers do not need becomes SampleFormat."""
    Image.fromarray(values.astype(np.uint16)).save(path)
    content = bytearray(path.read_bytes())
    planar = struct.pack("<HHI", 284, 3, 1)
    struct.pack_into("<HHII", content, content.index(planar), 339, 3, 1, 2)
    path.write_bytes(content)
    assert Image.open(path).mode == "I"


def test_signed_pixels_have_15_bits_and_no_minus(tmp_path, grey):
    path = tmp_path / "a.tif"
    for bits in (12, 15):
        _write_signed(path, grey.astype(np.int16) << (bits - 8))
        assert measure_bits([path]) == bits
        assert np.array_equal(decode(path, bits), np.dstack([grey] * 3))
    assert np.array_equal(decode(path), np.dstack([grey] * 3))
    values = grey.astype(np.int16)
    values[3, 4] = -1
    _write_signed(path, values)
    with pytest.raises(DataError, match=r"a\.tif cannot be read \(it has negative pixels"):
        decode(path)


def test_planes_of_deep_colours_are_refused(tmp_path):
    """Pillow would read them as noise."""
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), np.full((20, 30, 3), 1 << 12, np.uint16))
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHIH", 284, 3, 1, 1))
    content[at + 8] = 2
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"a\.tif cannot be read \(its channels of 16 bits .*planar"
    ):
        decode(path)


@pytest.mark.parametrize("bits", [12, 16])
def test_white_may_be_zero(tmp_path, grey, bits):
    path = tmp_path / "a.tif"
    values = (1 << bits) - 1 - (grey.astype(np.uint16) << (bits - 8))
    Image.fromarray(values).save(path)
    content = bytearray(path.read_bytes())
    at = content.index((262).to_bytes(2, "little") + b"\3\0\1\0\0\0")
    content[at + 8] = 0
    path.write_bytes(content)
    assert np.array_equal(decode(path, bits), np.dstack([grey] * 3))


def _category(root, bits: int) -> None:
    rng = np.random.default_rng(0)
    for name in ("train/good/0", "train/good/1", "test/good/0", "validation/good/0"):
        path = root / f"w/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 1 << 8, (40, 40), dtype=np.uint16)
        values[0, 0] = 255
        Image.fromarray(values << (bits - 8)).save(path)


def test_a_set_is_read_with_the_bits_of_its_normal_images(tmp_path):
    pictures = []
    for bits in (12, 16):
        _category(tmp_path / str(bits), bits)
        options = {"synthesis": None, "image_size": 40, "num_workers": 0}
        data = AnomalyDataModule(str(tmp_path / str(bits)), "w", **options)
        data.setup("fit")
        data.setup("test")
        assert data.bits == bits
        assert data.stream_options().to_dict()["bits"] == bits
        data.test_dataloader()
        pictures.append([data._train.images[0], data._held_out.images[0], data._test[0]["image"]])
    for ours, others in zip(*pictures, strict=True):
        assert np.array_equal(ours, others)
        assert ours.max() == 255


def test_a_test_set_without_a_module_is_read_with_the_bits_of_its_normal_images(tmp_path):
    _category(tmp_path, 12)
    data = AnomalyDataModule(str(tmp_path), "w", synthesis=None, image_size=40, num_workers=0)
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch["image"].max() == 255


def test_the_number_of_bits_can_be_given(tmp_path):
    _category(tmp_path, 12)
    data = AnomalyDataModule(str(tmp_path), "w", synthesis=None, image_size=40, bits=13)
    data.setup("fit")
    assert data._train.images[0].max() == 127
    with pytest.raises(ConfigError, match=r"--data\.bits is 17; it must be from 8 to 16"):
        AnomalyDataModule(str(tmp_path), "w", bits=17)


def test_black_images_of_16_bits_are_told_once(tmp_path, caplog):
    findings._warned.clear()
    for number in range(3):
        Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / f"{number}.png")
        decode(tmp_path / f"{number}.png")
    assert caplog.text.count("read as nearly black") == 1
    assert "Pillow" not in caplog.text  # command lines name files
    caplog.clear()
    Image.new("RGB", (8, 8)).save(tmp_path / "night.png")
    decode(tmp_path / "night.png", 12)
    assert not caplog.text  # it has 8 bits


@pytest.mark.parametrize("bits", [12, 16])
def test_the_deployment_script_reads_the_same_picture(tmp_path, grey, bits):
    """It has no padseg to import, so its reader is written once more."""
    text = SCRIPT.read_text()
    names = {}
    imports = "\n".join(line for line in text.splitlines() if line.startswith(("import", "from")))
    reader = text[text.index("def read_rgb") : text.index("network, *given")]
    exec(imports.replace("import onnxruntime", "") + "\n" + reader, names)
    lying = Image.Exif()
    lying[ExifTags.Base.Orientation] = 6
    deep = Image.fromarray(grey.astype(np.uint16) << (bits - 8))
    deep.save(tmp_path / "deep.png", exif=lying)
    deep.save(tmp_path / "deep.tif", exif=lying)
    _write_signed(tmp_path / "signed.tif", grey.astype(np.int16) << (min(bits, 15) - 8))
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(grey).save(tmp_path / "8.jpg", exif=lying)
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "alpha.webp")
    for path in tmp_path.iterdir():
        assert np.array_equal(names["read_rgb"](path, bits), decode(path, bits)), path
    Image.fromarray(grey.astype(np.int32) << 8).save(tmp_path / "int32.tif")
    with pytest.raises(SystemExit, match="pixels of 32 bits, of unknown range"):
        names["read_rgb"](tmp_path / "int32.tif", bits)
    with pytest.raises(DataError, match="32 bits, of unknown range"):
        decode(tmp_path / "int32.tif", bits)
    write_grey_alpha(tmp_path / "alpha.png", grey.astype(np.uint16) << (bits - 8))
    cv2.imwrite(str(tmp_path / "rgba.png"), np.full((*SIZE, 4), 4095, np.uint16))
    for name in ("alpha.png", "rgba.png"):
        if bits == 16:
            path = tmp_path / name
            assert np.array_equal(names["read_rgb"](path, bits), decode(path, bits)), path
        else:
            with pytest.raises(SystemExit, match="colours of 16 bits"):
                names["read_rgb"](tmp_path / name, bits)


def test_images_of_more_bits_than_those_of_the_training_are_told_once(tmp_path, caplog):
    findings._warned.clear()
    bright = np.full((8, 8), 4095, np.uint16)
    bright[:5] = 40_000
    for number in range(2):
        Image.fromarray(bright).save(tmp_path / f"{number}.png")
        assert decode(tmp_path / f"{number}.png", 12).min() == 255
    assert caplog.text.count("read as mostly white: it uses more than the 12 bits") == 1
    findings._warned.clear()
    caplog.clear()
    bright[:5] = 4095
    bright[:4] = 40_000  # lights and reflections
    Image.fromarray(bright).save(tmp_path / "lights.png")
    decode(tmp_path / "lights.png", 12)
    assert not caplog.text
