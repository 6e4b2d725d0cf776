import numpy as np
import pytest
from PIL import Image

from padseg.cli import main
from padseg.data import AnomalyDataModule
from padseg.data.preview import preview
from padseg.errors import ConfigError
from padseg.synthesis import SynthesisParams

TEDSEG = {"backend": "mixed", "probability": 0.92}  # of its recipe


def arguments(data_root, textures, out) -> list[str]:
    where = ["--root", str(data_root), "--category", "widget", "--textures", str(textures)]
    return ["preview", *where, "--out", str(out), "--data.image_size", "64"]


def cells(page: Image.Image, height: int, width: int, rows: int, columns: int) -> np.ndarray:
    """(rows, columns, H, W, 3), counted from the lower right corner, where no text is."""
    pixels, gap = np.asarray(page), 4
    return np.stack(
        [
            np.stack(
                [
                    pixels[-(row * (height + gap)) :, -(column * (width + gap)) :][:height, :width]
                    for column in range(columns, 0, -1)
                ]
            )
            for row in range(rows, 0, -1)
        ]
    )


def test_the_picture_shows_the_pairs_of_training(data_root, textures):
    options = {"image_size": (48, 80), "seed": 3, "num_workers": 0}
    data = AnomalyDataModule(str(data_root), "widget", str(textures), **options)
    shown = cells(preview(data, 9, 3), 48, 80, 3, 4)
    pairs = AnomalyDataModule(str(data_root), "widget", str(textures), **options).pairs(9, 3)
    for column, name in enumerate(("clean", "texture", "mask", "corrupted")):
        value = pairs[name].expand(3, 3, 48, 80).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(shown[:, column], (value * 255).round().astype(np.uint8)), name


def test_without_synthesis_there_is_the_clean_image(data_root):
    data = AnomalyDataModule(str(data_root), "widget", synthesis=None, image_size=64)
    page = preview(data, 0, 2)
    expected = (data.pairs(0, 2)["clean"].permute(0, 2, 3, 1).numpy() * 255).round()
    assert np.array_equal(cells(page, 64, 64, 2, 1)[:, 0], expected)


def test_the_command_writes_a_picture(data_root, textures, tmp_path, capsys):
    out = tmp_path / "new" / "grid.png"
    more = ["--count", "3", "--start", "5", "--data.image_size", "[64, 96]"]
    assert main([*arguments(data_root, textures, out), *more]) == 0
    shown = cells(Image.open(out), 64, 96, 3, 4)
    options = {"image_size": (64, 96), "synthesis": SynthesisParams(**TEDSEG)}
    data = AnomalyDataModule(str(data_root), "widget", str(textures), **options)
    expected = (data.pairs(5, 3)["corrupted"].permute(0, 2, 3, 1).numpy() * 255).round()
    assert np.array_equal(shown[:, 3], expected)
    assert [path.name for path in out.parent.iterdir()] == ["grid.png"]


@pytest.mark.parametrize(
    ("more", "columns", "options"),
    [
        (["--system", "destseg"], 4, {}),
        (["--data.synthesis.probability", "1"], 4, TEDSEG | {"probability": 1}),
        (["--data.synthesis.backend", "perlin"], 4, TEDSEG | {"backend": "perlin"}),
        (["--system", "stpm"], 1, None),
    ],
)
def test_the_command_shows_what_the_system_sees(
    data_root, textures, tmp_path, more, columns, options
):
    out = tmp_path / "grid.png"
    assert main([*arguments(data_root, textures, out), "--count", "6", *more]) == 0
    shown = cells(Image.open(out), 64, 64, 6, columns)[:, -1]
    synthesis = None if options is None else SynthesisParams(**options)
    validation = {} if columns == 4 else {"val_fraction": 0.2, "augmentation": "none"}
    data = AnomalyDataModule(
        str(data_root), "widget", str(textures), image_size=64, synthesis=synthesis, **validation
    )
    pairs = data.pairs(0, 6)
    expected = pairs["clean" if synthesis is None else "corrupted"].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(shown, (expected * 255).round())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--data.synthesis.threshold", "2"], "threshold"),
        (["--data.nothing", "2"], "nothing"),
        (["--data.root", "elsewhere"], "--data.root cannot be set here: use --root."),
        (["--data.batch_size", "many"], "error: --data.batch_size: expected int, not many (see"),
        (["--data.augmentation", "odd"], "--data.augmentation: expected one of 'auto', 'none', "),
        (["--data.synthesis.exponents", "3"], "expected tuple, not 3 (see padseg fit --help"),
        (["--nothing", "2"], "unknown option"),
        (["--count", "0"], "n from 1"),
        (["--count", "10000000000"], "n from 1 to 1000"),
        (["--start", "-1"], "start counts from 0"),
        (["--category", "bolt"], "'bolt' does not exist"),
        (["--layout", "kolektorsdd"], "kos01"),
        (["--out", "grid.doc"], "has no known suffix: name it grid.png"),
        (["--out", "grid.psd"], "has no known suffix: name it grid.png"),  # which Pillow only reads
    ],
)
def test_mistakes_are_told(data_root, textures, tmp_path, capsys, monkeypatch, more, told):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments(data_root, textures, "grid.png"), *more]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_picture_of_others_is_not_replaced(data_root, textures, tmp_path, capsys):
    out = tmp_path / "own.png"
    command = [*arguments(data_root, textures, out), "--count", "1"]
    for _ in range(2):
        assert main(command) == 0
    Image.new("RGB", (8, 8)).save(out)
    before = out.read_bytes()
    assert main(command) == 2
    assert "own.png exists and was not written by padseg: pass another" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_the_range_is_checked(data_root):
    data = AnomalyDataModule(str(data_root), "widget", synthesis=None)
    with pytest.raises(ConfigError, match="preview of 0 samples"):
        preview(data, 0, 0)
