"""Pictures that padseg wrote are no images, wherever they lie and whatever they are called."""

import json
import os
import shutil
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from padseg.cli import main
from padseg.data.check import check_category
from padseg.data.image_files import list_images, list_textures
from padseg.data.layouts import list_samples
from padseg.errors import DataError
from padseg.export.int8 import to_int8
from padseg.inference.inputs import find_images
from padseg.machine.marks import save_marked
from padseg.modules import read_checkpoint
from padseg.records.pictures import RecordPictures, write_pictures

FAST = ("--device", "cpu", "--precision", "32-true")


@pytest.fixture(scope="module")
def shots(checkpoint, data_root, tmp_path_factory) -> Path:
    """Three photographs, one of them with the name of a result, and what `detect` found among them."""
    folder = tmp_path_factory.mktemp("own") / "shots"
    folder.mkdir()
    sources = sorted((data_root / "widget/test/spot").iterdir())
    for name, source in zip(("a.png", "b.png", "a.png.png"), sources, strict=False):
        shutil.copy(source, folder / name)
    found = folder / "found"
    assert main(["detect", str(checkpoint), str(folder), "--out", str(found), *FAST]) == 0
    # A result folder that was renamed, one that lost its tables, and single files among the images.
    shutil.copytree(found, folder / "renamed")
    shutil.copytree(found / "overlays", folder / "pictures")
    shutil.copy(found / "maps/a.png.png", folder / "c.png")
    shutil.copy(found / "masks/b.png.png", folder / "000_mask.png")
    shutil.copy(found / "overlays/a.png.jpg", folder / "d.jpg")
    return folder


def names(paths) -> list[str]:
    return [path.name for path in paths]


THEIRS = ["a.png", "a.png.png", "b.png"]


def test_folders_files_and_patterns_leave_them_out(shots, caplog):
    assert names(find_images([shots])) == THEIRS
    assert "Left out, as padseg wrote them: " in caplog.text
    assert sorted(names(find_images([f"{shots}/**/*.*g"]))) == THEIRS
    assert sorted(names(find_images(sorted(shots.glob("*.*"))))) == THEIRS
    with pytest.raises(DataError, match="all images given are pictures that padseg itself wrote"):
        find_images([shots / "pictures"])


def test_leaving_many_out_takes_as_long_for_each(tmp_path, monkeypatch):
    """A second call of `detect` finds three pictures for each image, which may be tens of thousands."""
    for number in range(40):
        Image.new("L", (2, 2)).save(tmp_path / f"{number}.png")
        save_marked(Image.new("L", (2, 2)), tmp_path / f"{number}-own.png")
    hashed = []
    hash_of = PurePath.__hash__
    monkeypatch.setattr(PurePath, "__hash__", lambda path: hashed.append(path) or hash_of(path))
    assert len(find_images([tmp_path])) == 40
    assert len(hashed) < 20 * 80


def test_detect_once_more_scores_the_images_alone(checkpoint, shots, tmp_path):
    for out in (tmp_path / "elsewhere", shots / "found"):
        assert main(["detect", str(checkpoint), str(shots), "--out", str(out), *FAST]) == 0
        assert sorted(pd.read_csv(out / "predictions.csv")["path"]) == THEIRS


def test_detect_into_the_folder_of_the_images(checkpoint, shots, tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    for name in THEIRS:
        shutil.copy(shots / name, folder)
    for _ in range(2):
        assert main(["detect", str(checkpoint), str(folder), "--out", str(folder), *FAST]) == 0
        assert sorted(pd.read_csv(folder / "predictions.csv")["path"]) == THEIRS


def test_thresholds_are_the_same_with_and_without_them(checkpoint, shots, tmp_path):
    thresholds = []
    for paths in ([shots / name for name in THEIRS], [shots]):
        ours = tmp_path / "ours.ckpt"
        shutil.copy(checkpoint, ours)
        assert main(["calibrate", str(ours), *map(str, paths), *FAST]) == 0
        thresholds.append(read_checkpoint(ours)["padseg"]["calibration"])
    assert thresholds[0] == thresholds[1]
    assert thresholds[0]["normal_images"] == 3


@pytest.mark.slow
def test_ranges_of_int8_are_measured_on_the_images_alone(checkpoint, shots, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    measured = []

    def measure(model, images, bits):
        measured.extend(images)
        return to_int8(model, images, bits)

    monkeypatch.setattr("padseg.export.onnx.to_int8", measure)
    export = ["export", str(checkpoint), "--format", "onnx", "--out", str(tmp_path / "net.onnx")]
    assert main([*export, "--int8", str(shots)]) == 0
    assert names(measured) == THEIRS


def test_data_folders_and_textures_leave_them_out(shots, tmp_path):
    for folder in ("widget", "widget/train", "widget/test/good"):
        shutil.copytree(shots, tmp_path / folder, dirs_exist_ok=True)
    samples = list_samples(tmp_path, "widget", "folder")
    assert names(sample.path for sample in samples) == THEIRS * 2
    said = [one for one in check_category(tmp_path, "widget", "folder") if one.kind == "unused"]
    assert any("pictures that padseg wrote" in one.message for one in said)
    assert names(list_textures(shots)) == THEIRS


def test_masks_of_detect_are_no_ground_truth(shots, tmp_path):
    """Figures against a system's own verdicts would be wrong."""
    shutil.copytree(shots, tmp_path / "widget/train/good")
    (tmp_path / "widget/test/spot").mkdir(parents=True)
    shutil.copy(shots / "a.png", tmp_path / "widget/test/spot/a.png")
    truth = tmp_path / "widget/ground_truth/spot"
    truth.mkdir(parents=True)
    shutil.copy(shots / "found/masks/a.png.png", truth / "a_mask.png")
    blocking = [one for one in check_category(tmp_path, "widget") if one.blocks]
    assert "missing mask" in {one.kind for one in blocking}
    with Image.open(truth / "a_mask.png") as mask:  # drawn over in an editor, it is the user's own
        mask.convert("L").save(truth / "a_mask.png")
    assert not [one for one in check_category(tmp_path, "widget") if one.kind == "missing mask"]


def test_lists_that_name_them_are_refused(shots, tmp_path):
    shutil.copytree(shots, tmp_path / "data/images")
    rows = "path,split,label\nimages/a.png,train,good\nimages/found/overlays/a.png.jpg,train,good\n"
    (tmp_path / "data/samples.csv").write_text(rows)
    findings = check_category(tmp_path / "data", "any", "folder")
    assert [one.file.name for one in findings if one.kind == "own picture"] == ["a.png.jpg"]
    assert all(one.blocks for one in findings if one.kind == "own picture")


def test_records_of_a_run_are_left_out(tmp_path):
    for kind in ("maps", "thumbs", "masks"):
        (tmp_path / kind).mkdir()
    pixels = np.zeros((8, 8, 3), np.uint8)
    write_pictures(
        tmp_path, 0, RecordPictures(pixels, pixels[..., 0].astype(np.uint16), pixels[..., 0] == 0)
    )
    assert len(list(tmp_path.glob("*/*"))) == 3
    assert not list_images(tmp_path, recursive=True)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_previews_are_left_out(suffix, data_root, textures, tmp_path):
    preview = ["preview", "--root", str(data_root), "--category", "widget", "--count", "1"]
    preview += ["--textures", str(textures), "--out", str(tmp_path / f"preview.{suffix}")]
    assert main(preview) == 0
    assert len(list(tmp_path.iterdir())) == 1
    assert not list_images(tmp_path)


def test_one_image_whose_results_cannot_be_written_is_reported(
    checkpoint, data_root, tmp_path, capsys
):
    folder, out = tmp_path / "shots", tmp_path / "out"
    folder.mkdir()
    sources = sorted((data_root / "widget/train/good").iterdir())
    long_name = "x" * 246 + ".png"  # its map has 254 bytes
    for name, source in zip(
        ("a.png", "b.png", long_name, "y" * 251 + ".png", "z.png"), sources, strict=False
    ):
        shutil.copy(source, folder / name)
    (out / "overlays/b.png.jpg").mkdir(parents=True)  # in the way
    detect = ["detect", str(checkpoint), str(folder), "--out", str(out), *FAST]
    assert main(detect) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "2 of 5 images could not be read, or not all results written; the first is" in told
    assert "b.png.jpg cannot be written (it is a folder)" in told
    table = pd.read_csv(out / "predictions.csv").set_index("path")
    assert table["image_score"].notna().to_dict() == {
        **dict.fromkeys(("a.png", long_name, "z.png"), True),
        **dict.fromkeys(("b.png", "y" * 251 + ".png"), False),
    }
    assert "File name too long" in table.loc["y" * 251 + ".png", "error"]
    assert {path.name for path in (out / "maps").iterdir()} == {
        *("a.png.png", "z.png.png", f"{long_name}.png")
    }
    (out / "overlays/b.png.jpg").rmdir()
    (folder / ("y" * 251 + ".png")).unlink()
    assert main(detect) == 0
    assert len(json.loads((out / "predictions.json").read_text())) == 4


def test_a_folder_that_cannot_be_read_is_reported(checkpoint, data_root, tmp_path, monkeypatch):
    folder, out = tmp_path / "shots", tmp_path / "out"
    shutil.copytree(data_root / "widget/test", folder)

    def forbidden(place):
        if Path(place).name == "spot":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    scandir = os.scandir
    monkeypatch.setattr("padseg.data.image_files.os.scandir", forbidden)
    assert main(["detect", str(checkpoint), str(folder), "--out", str(out), *FAST]) == 2
    table = pd.read_csv(out / "predictions.csv").set_index("path")
    assert "spot cannot be read (Permission denied)" in table.loc["spot", "error"]
    assert table["image_score"].notna().sum() == 3
    with pytest.raises(DataError, match="spot cannot be read"):
        find_images([folder])
