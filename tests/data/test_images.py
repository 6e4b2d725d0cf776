"""Image files of every pixel type, against Pillow and plain arithmetic."""

import runpy
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from padseg.data import images
from padseg.data.images import decode, image_shape, open_image, read_image, resize
from padseg.data.masks import read_masks
from padseg.errors import DataError
from padseg.inference.images import load_rgb

from .conftest import SIZE, png_chunk


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *(("L", "a.png"), ("L", "a.TIFF"), ("L", "a.Bmp"), ("LA", "a.png"), ("RGB", "a.WEBP")),
        *(("RGB", "a.png"), ("RGBA", "a.png"), ("P", "a.png"), ("1", "a.png"), ("CMYK", "a.tif")),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, grey, mode, name):
    picture = Image.fromarray(grey).convert(mode)
    picture.save(tmp_path / name, **({"lossless": True} if name.endswith("WEBP") else {}))
    ours = read_image(tmp_path / name, SIZE)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, np.asarray(picture.convert("RGB")))
    assert image_shape(tmp_path / name) == SIZE


@pytest.mark.filterwarnings("error")
def test_transparency_of_a_palette_is_dropped_without_a_warning(tmp_path, grey):
    picture = Image.fromarray(grey).convert("P")
    picture.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert np.array_equal(decode(tmp_path / "a.png"), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path, name, orientation):
    """A camera held on its side writes a lying picture, and in EXIF how to turn it."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255  # the left upper corner
    # EXIF 2.32, 4.6.5: which side of the picture the first row and the first column are.
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: np.rot90(upright, 1),  # right, top
        7: np.rot90(upright, 2).transpose(1, 0, 2),  # right, bottom
        8: np.rot90(upright, -1),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lossless = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif, **lossless)
    assert image_shape(tmp_path / name) == (32, 48)
    assert np.allclose(decode(tmp_path / name), upright, atol=8)  # JPEG is lossy


def _metadata(orientation: int) -> dict[str, bytes]:
    """An orientation in each way that PNG can hold it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    raw = exif.tobytes()
    profile = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    return {
        "exif": png_chunk(b"eXIf", raw.removeprefix(b"Exif\0\0")),
        "profile": png_chunk(b"tEXt", b"Raw profile type exif\0" + profile),
        "packed": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
        "xmp": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
    }


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("kind", ["exif", "profile", "packed", "xmp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 9])
def test_an_orientation_anywhere_in_a_png_counts(tmp_path, grey, behind, kind, orientation):
    path = tmp_path / "a.png"
    Image.fromarray(grey).save(path)
    content = path.read_bytes()
    at = content.index(b"IEND" if behind else b"IDAT") - 4
    path.write_bytes(content[:at] + _metadata(orientation)[kind] + content[at:])
    turns = {3: 2, 6: -1, 8: 1}.get(orientation, 0)
    expected = np.rot90(grey, turns)
    assert np.array_equal(decode(path)[..., 0], expected)
    assert image_shape(path) == expected.shape
    assert np.array_equal(ImageOps.exif_transpose(Image.open(path)), expected)
    for loaded in (False, True):
        image = Image.open(path)
        if loaded:
            image.load()
        assert np.array_equal(np.asarray(load_rgb(image))[..., 0], expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tif"])
def test_an_orientation_in_xmp_counts(tmp_path, grey, name):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options = {"tiffinfo": {700: xmp}} if name.endswith("tif") else {"xmp": xmp}
    Image.fromarray(grey).convert("RGB").save(tmp_path / name, **options)
    assert image_shape(tmp_path / name) == SIZE[::-1]
    assert decode(tmp_path / name).shape[:2] == SIZE[::-1]
    assert np.array_equal(load_rgb(Image.open(tmp_path / name)), decode(tmp_path / name))


@pytest.mark.parametrize("junk", [b"Exif\0\0XX*\0junk", b"Exif\0\0", b"MM\0*", b"\0"])
def test_broken_exif_means_upright(tmp_path, grey, junk):
    for name, behind in (("a.jpg", False), ("a.webp", False), ("a.png", False), ("b.png", True)):
        path = tmp_path / name
        Image.fromarray(grey).save(path, **({} if behind else {"exif": junk}))
        if behind:
            content = path.read_bytes()
            at = content.index(b"IEND") - 4
            path.write_bytes(content[:at] + png_chunk(b"eXIf", junk) + content[at:])
        assert image_shape(path) == SIZE
        assert decode(path).shape[:2] == SIZE
        assert np.array_equal(load_rgb(Image.open(path)), decode(path))


def test_headers_alone_are_read_unless_an_orientation_follows(tmp_path, grey, monkeypatch):
    Image.fromarray(grey).save(tmp_path / "a.png")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: pytest.fail("decoded"))
    assert image_shape(tmp_path / "a.png") == SIZE


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_tiffs_of_every_kind_are_turned_upright(tmp_path, mode, compression):
    lying = np.zeros((48, 32), np.uint8)
    lying[:16, :16] = 255
    picture = Image.fromarray(lying)
    if mode == "I;16":
        picture = Image.fromarray(lying.astype(np.uint16) * 257)
    elif mode != "L":
        picture = picture.convert("RGB").convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture.save(tmp_path / "a.tif", exif=exif, compression=compression)
    assert image_shape(tmp_path / "a.tif") == (32, 48)
    assert np.array_equal(decode(tmp_path / "a.tif")[..., 0], np.rot90(lying, -1))


def test_32_bit_images_are_refused(tmp_path, grey):
    for kind in (np.float32, np.int32):
        Image.fromarray(grey.astype(kind)).save(tmp_path / "a.tif")
        with pytest.raises(DataError, match=r"a\.tif cannot be read .*32 bits"):
            read_image(tmp_path / "a.tif", SIZE)


def test_non_square_sizes_are_kept(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", (20, 32)).shape == (20, 32, 3)
    assert read_masks([tmp_path / "a.png"], (20, 32)).shape == (20, 32)


@pytest.mark.parametrize("shape", [(40, 40), (300, 300), (40, 300), (20, 2000), (90, 100)])
def test_square_and_wide_images_are_resized_as_in_one_call(shape):
    rng = np.random.default_rng(0)
    for pixels in (
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
        rng.random(shape, dtype=np.float32),
    ):
        image = Image.fromarray(pixels)
        expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
        assert np.array_equal(np.asarray(resize(image, (64, 64))), expected)


def test_tall_images_are_resized_width_first(tmp_path):
    """Whatever order the release of Pillow takes; each pass alone has none."""
    pixels = np.random.default_rng(0).integers(0, 256, (900, 40), dtype=np.uint8)
    image = Image.fromarray(np.dstack([pixels] * 3))
    rows = image.resize((64, 900), Image.Resampling.BILINEAR)
    expected = np.asarray(rows.resize((64, 48), Image.Resampling.BILINEAR))
    assert np.array_equal(np.asarray(resize(image, (48, 64))), expected)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", (48, 64)), expected)
    # The sums of the two orders round apart where the share is near one half.
    Image.fromarray(pixels).save(tmp_path / "m.png")
    share = Image.fromarray((pixels / pixels.max()).astype(np.float32))
    expected = np.asarray(resize(share, (48, 64))) >= 0.5
    assert np.array_equal(read_masks([tmp_path / "m.png"], (48, 64)), expected)


@pytest.mark.slow  # decodes 200 megapixels
def test_large_images_are_no_bombs(tmp_path, monkeypatch):
    assert Image.MAX_IMAGE_PIXELS == 2**30
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").shape == (10_000, 20_000, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png is refused .*200000000 pixels.* cut it into"):
        open_image(tmp_path / "a.png", lambda image: image.size)


@pytest.mark.parametrize(
    ("chosen", "kept"), [(2**30 // 4 // 3, 2**30), (None, None), (2**40, 2**40), (1000, 1000)]
)
def test_a_limit_that_was_chosen_is_kept(monkeypatch, chosen, kept):
    """The first is Pillow's own."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", chosen)
    runpy.run_path(images.__file__)
    assert kept == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("given", ["a file", "its content"])
def test_an_image_that_does_not_fit_into_memory_is_not_called_broken(tmp_path, monkeypatch, given):
    path = tmp_path / "scan.png"
    Image.new("RGB", (8, 8)).save(path)
    source = path if given == "a file" else path.read_bytes()

    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(DataError, match="does not fit into memory: cut it into smaller ones"):
        load_rgb(source)
