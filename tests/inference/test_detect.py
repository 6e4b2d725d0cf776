"""`padseg detect`, `calibrate` and `predict`: what they leave on disk."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from padseg.callbacks.verdicts import calibrated_thresholds
from padseg.cli import main
from padseg.data.images import open_rgb
from padseg.errors import CheckpointError, DataError, PadsegError
from padseg.inference import Predictor, load_module
from padseg.inference.calibrate import calibrate
from padseg.inference.inputs import find_images
from padseg.inference.outcomes import Outcome, join_logs, log_path, read_log
from padseg.inference.results import Results, results_options
from padseg.inference.tables import write_tables
from padseg.lightning_cli.cli import PadsegCLI
from padseg.machine.peak_memory import peak_memory_mb, reset_peak_memory
from padseg.metrics.calibration import Calibration, Calibrator
from padseg.modules import read_checkpoint
from padseg.modules.checkpoint import store_calibration
from tiny import tiny_student

CPU = torch.device("cpu")

FAST = ("--device", "cpu", "--precision", "32-true")


def detect(checkpoint, out, *paths, options=()) -> int:
    given = [str(path) for path in paths]
    return main(["detect", str(checkpoint), *given, "--out", str(out), *FAST, *options])


@pytest.fixture
def images(data_root, tmp_path):
    """Names that are easily confused."""
    sources = sorted((data_root / "widget/test").rglob("*.png"))
    names = ["a/1.png", "b/1.png", "b/1.jpg", "b/ü 漢.png"]
    for source, name in zip(sources, names, strict=False):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            image.resize((90, 50)).save(tmp_path / "images" / name)
    return tmp_path / "images", names


def test_what_detect_writes(checkpoint, images, tmp_path, capsys):
    folder, names = images
    assert detect(checkpoint, tmp_path / "out", folder) == 0
    out = tmp_path / "out"
    table = pd.read_csv(out / "predictions.csv").set_index("path")
    regions = pd.read_csv(out / "regions.csv")
    objects = {one["path"]: one for one in json.loads((out / "predictions.json").read_text())}
    assert set(table.index) == set(objects) == set(names)
    predictor = Predictor(checkpoint, device="cpu", precision="32-true")
    for name in names:
        expected = predictor(folder / name)
        row = table.loc[name]
        assert (row["width"], row["height"]) == (90, 50)
        assert row["image_score"] == pytest.approx(expected.image_score, abs=1e-6)
        assert bool(row["anomalous"]) == expected.anomalous == objects[name]["anomalous"]
        assert row["score"] == pytest.approx(expected.score, abs=1e-4)
        assert (row["score"] > 0.5) == row["anomalous"]
        assert objects[name]["score"] == pytest.approx(expected.score, abs=1e-4)
        assert (regions.loc[regions["path"] == name, "score"] > 0.5).all()
        assert row["regions"] == len(expected.regions) == len(objects[name]["regions"])
        boxes = regions.loc[regions["path"] == name, ["left", "top", "right", "bottom"]]
        assert [tuple(box) for box in boxes.to_numpy()] == [r.box for r in expected.regions]
        with Image.open(out / "maps" / f"{name}.png") as image:
            assert image.mode == "I;16"
            score_map = np.asarray(image) / 65535
        np.testing.assert_allclose(score_map, expected.score_map, atol=2e-5)
        with Image.open(out / "masks" / f"{name}.png") as image:
            assert image.mode == "1"
            differing = np.asarray(image) != expected.mask
            assert differing.mean() < 0.001
        with Image.open(out / "overlays" / f"{name}.jpg") as image:
            # The image, enlarged three times, above its overlay, under the verdict.
            assert image.size[0] > 3 * 90
            assert image.size[1] > 2 * 3 * 50
            back = np.asarray(image)[2, 2].astype(int)
            assert (back[0] > back[2]) == bool(row["anomalous"])  # orange or blue
    told = capsys.readouterr().out
    assert f"{len(table)} images scored in {out}; {table['anomalous'].sum()} " in told


def test_done_images_are_skipped_and_a_cut_log_goes_on(checkpoint, images, tmp_path):
    folder, names = images
    out = tmp_path / "out"
    assert detect(checkpoint, out, folder) == 0
    first = {path: path.read_bytes() for path in out.rglob("*.[pcj]*") if path.is_file()}
    log = (out / ".log-0.jsonl").read_text().splitlines(keepends=True)
    (out / ".log-0.jsonl").write_text("".join(log[:2]) + log[2][:30])  # killed while writing
    kept = out / "maps" / f"{json.loads(log[0])['path']}.png"
    before = kept.stat().st_mtime_ns
    assert detect(checkpoint, out, folder) == 0
    assert kept.stat().st_mtime_ns == before
    assert {path: path.read_bytes() for path in first} == first
    assert len(pd.read_csv(out / "predictions.csv")) == len(names)


def test_overwrite_keeps_files_of_others(checkpoint, images, tmp_path, capsys):
    out, options = tmp_path / "seed0", '{"system": "tedseg"}'
    out.mkdir()
    (out / "options.json").write_text(options)
    for given in ([], ["--overwrite"]):
        assert detect(checkpoint, out, images[0], options=given) == 2
        told = capsys.readouterr().err
        assert (
            f"{out / 'options.json'} belongs to a run or another program: pass another --out"
            in told
        )
    assert (out / "options.json").read_text() == options
    (out / "options.json").rename(out / "predictions.csv")
    assert detect(checkpoint, out, images[0], options=["--overwrite"]) == 2
    assert "predictions.csv is not padseg's: pass another" in capsys.readouterr().err
    assert (out / "predictions.csv").read_text() == options


def test_other_thresholds_are_told_and_overwritten_on_demand(checkpoint, images, tmp_path, capsys):
    folder, names = images
    ours, out = tmp_path / "ours.ckpt", tmp_path / "out"
    shutil.copy(checkpoint, ours)
    assert detect(ours, out, folder) == 0
    (out / "notes.txt").write_text("mine")
    before = pd.read_csv(out / "predictions.csv")
    calibration = read_checkpoint(ours)["padseg"]["calibration"]
    then = Calibration.from_dict(calibration)
    store_calibration(ours, replace(then, image_threshold=0.9, pixel_threshold=0.95))
    capsys.readouterr()
    assert detect(ours, out, folder) == 2
    told = capsys.readouterr().err
    earlier = f"{then.image_threshold:.9g} and {then.pixel_threshold:.9g}"
    assert f"judged by other thresholds ({earlier}, now 0.9 and 0.95): add --overwrite" in told
    assert detect(ours, out, folder / "a") == 2  # of other images as well
    assert "add --overwrite to replace them" in capsys.readouterr().err
    assert detect(ours, out, folder / "a", options=["--overwrite"]) == 0
    after = pd.read_csv(out / "predictions.csv")
    assert len(before) == len(names)
    assert list(after["path"]) == ["1.png"]
    assert not after["anomalous"].any()
    pictures = sorted(path.relative_to(out).as_posix() for path in out.glob("*/**/*.*"))
    assert pictures == ["maps/1.png.png", "masks/1.png.png", "overlays/1.png.jpg"]
    assert (out / "notes.txt").read_text() == "mine"


def test_options_of_another_program_are_told(checkpoint, images, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "options.json").write_text("[]")
    assert detect(checkpoint, out, images[0] / "a") == 2
    assert "options.json is not from padseg, or broken" in capsys.readouterr().err


def test_another_folder_of_images_may_come(checkpoint, images, tmp_path):
    folder, _ = images
    later = tmp_path / "later"
    (folder / "b").rename(later)
    assert detect(checkpoint, tmp_path / "out", folder) == 0
    later.rename(folder / "b")
    (folder / "b/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert detect(checkpoint, tmp_path / "out", folder) == 2  # the link is reported, the rest done
    table = pd.read_csv(tmp_path / "out/predictions.csv").set_index("path")
    assert sorted(table.index[table["error"].isna()]) == sorted(images[1])
    assert detect(checkpoint, tmp_path / "pattern", folder / "*/*.png") == 2
    table = pd.read_csv(tmp_path / "pattern/predictions.csv").set_index("path")
    assert table["error"].notna().sum() == 1
    assert "does not exist" in table.loc["b/gone.png", "error"]


def test_an_image_that_has_changed_is_scored_again(checkpoint, images, tmp_path):
    folder, names = images
    out = tmp_path / "out"
    assert detect(checkpoint, out, folder) == 0
    before = pd.read_csv(out / "predictions.csv").set_index("path")
    changed, gone, *_ = names
    Image.new("RGB", (70, 40), "red").save(folder / changed)
    (folder / gone).unlink()
    assert detect(checkpoint, out, folder) == 0
    after = pd.read_csv(out / "predictions.csv").set_index("path")
    assert list(after.loc[changed, ["width", "height"]]) == [70, 40]
    assert after.loc[changed, "image_score"] != before.loc[changed, "image_score"]
    assert after.index.is_unique
    pd.testing.assert_frame_equal(after.loc[names[1:]], before.loc[names[1:]])
    mask, overlay = out / f"masks/{changed}.png", out / f"overlays/{names[2]}.jpg"
    for path in (mask, overlay):
        path.unlink()
    assert detect(checkpoint, out, folder) == 0
    assert mask.exists()
    assert overlay.exists()
    records = json.loads((out / "predictions.json").read_text())
    assert {record["path"]: record["width"] for record in records}[changed] == 70


def test_another_checkpoint_or_option_is_refused(checkpoint, images, tmp_path, capsys):
    folder, _ = images
    out = tmp_path / "out"
    assert detect(checkpoint, out, folder / "a") == 0
    assert detect(checkpoint, out, folder / "a", options=("--tile", "40")) == 2
    assert "tile None (now 40): add --overwrite" in capsys.readouterr().err
    assert detect(checkpoint, out, folder) == 2
    assert "holds results of images below" in capsys.readouterr().err
    other = tmp_path / "other.ckpt"
    shutil.copy(checkpoint, other)
    assert main(["calibrate", str(other), str(folder), *FAST]) == 0
    assert detect(other, out, folder / "a") == 2
    assert "judged by other thresholds (0.05 and " in capsys.readouterr().err


def test_images_judged_normal_are_outlined_on_demand(checkpoint, images, tmp_path, capsys):
    ours, name = tmp_path / "ours.ckpt", "1.png"
    shutil.copy(checkpoint, ours)
    predictor = Predictor(checkpoint, device="cpu", precision="32-true")
    threshold = float(np.quantile(predictor(images[0] / "a" / name).score_map, 0.9))
    calibration = Calibration.from_dict(read_checkpoint(ours)["padseg"]["calibration"])
    store_calibration(ours, replace(calibration, image_threshold=0.99, pixel_threshold=threshold))
    plain, outlined = tmp_path / "plain", tmp_path / "outlined"
    assert detect(ours, plain, images[0] / "a") == 0
    assert detect(ours, outlined, images[0] / "a", options=("--outline-all",)) == 0
    assert not pd.read_csv(outlined / "predictions.csv")["anomalous"].any()
    with Image.open(plain / f"overlays/{name}.jpg") as picture:
        before = np.asarray(picture).astype(int)
    with Image.open(outlined / f"overlays/{name}.jpg") as picture:
        after = np.asarray(picture).astype(int)
    differing = np.abs(after - before).max(axis=-1) > 60
    assert differing.any()
    assert not differing[: len(differing) // 2].any()  # the image itself, above its overlay
    for path in ("predictions.csv", f"maps/{name}.png", f"masks/{name}.png"):
        assert (plain / path).read_bytes() == (outlined / path).read_bytes()
    assert detect(ours, outlined, images[0] / "a") == 2
    assert "holds results of outline all True (now None)" in capsys.readouterr().err


def test_broken_images_are_counted_and_the_rest_is_done(checkpoint, images, tmp_path, capsys):
    folder, names = images
    (folder / "a/empty.png").touch()
    (folder / "b/text.jpg").write_text("no image")
    assert detect(checkpoint, tmp_path / "out", folder) == 2
    told = capsys.readouterr().err
    assert "2 of 6 images could not be read" in told
    assert "a/empty.png" in told
    table = pd.read_csv(tmp_path / "out/predictions.csv").set_index("path")
    assert "0 bytes" in table.loc["a/empty.png", "error"]
    assert table.loc[names, "error"].isna().all()
    shutil.copy(folder / "a/1.png", folder / "a/empty.png")
    (folder / "b/text.jpg").unlink()
    assert detect(checkpoint, tmp_path / "out", folder) == 0
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert len(table) == 5
    assert table["error"].isna().all()


def test_an_image_that_cannot_be_read_any_more_keeps_no_pictures(checkpoint, images, tmp_path):
    folder, names = images
    out = tmp_path / "out"
    assert detect(checkpoint, out, folder) == 0
    (folder / names[0]).write_text("no image")
    assert detect(checkpoint, out, folder) == 2
    pictures = sorted(path.name for path in out.rglob("*.[jp][pn]g"))
    assert len(pictures) == 3 * (len(names) - 1)
    assert all((out / "overlays" / f"{name}.jpg").is_file() for name in names[1:])


@pytest.mark.slow
def test_images_longer_than_a_jpeg_get_a_smaller_overlay(checkpoint, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 66_000), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images/wide.png")
    Image.fromarray(pixels.T).save(tmp_path / "images/tall.png")
    out = tmp_path / "out"
    assert detect(checkpoint, out, tmp_path / "images") == 0
    predictor = Predictor(checkpoint, device="cpu", precision="32-true")
    for name, side in (("wide", 0), ("tall", 1)):
        expected = predictor(tmp_path / f"images/{name}.png")
        with Image.open(out / f"maps/{name}.png.png") as image:
            np.testing.assert_allclose(np.asarray(image) / 65535, expected.score_map, atol=2e-5)
        with Image.open(out / f"masks/{name}.png.png") as image:
            assert (np.asarray(image) != expected.mask).mean() < 0.001
        with Image.open(out / f"overlays/{name}.png.jpg") as image:
            assert image.size[side] == 65_500
            assert 64 < image.size[1 - side] < 400


def test_what_stops_the_writing_is_told(checkpoint, images, tmp_path, monkeypatch, capsys):
    """Encoders raise errors without a number of the system."""

    def fail(*args, **kwargs):
        raise OSError("encoder error -2")

    monkeypatch.setattr(Image.Image, "save", fail)
    assert detect(checkpoint, tmp_path / "out", images[0]) == 2
    assert "cannot be written (encoder error -2)" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there, open files keep the folder")
@pytest.mark.parametrize("command", ["detect", "predict"])
def test_results_that_are_moved_away_end_it(
    command, checkpoint, images, data_root, tmp_path, monkeypatch, capsys
):
    """The verdicts after that would be in no table."""
    out, settle = tmp_path / "found", Results._settle

    def move_and_settle(self):
        if out.exists():
            out.rename(tmp_path / "moved")
        settle(self)

    monkeypatch.setattr(Results, "_settle", move_and_settle)
    if command == "detect":
        assert detect(checkpoint, out, images[0]) == 2
    else:
        assert main(predict_args(checkpoint, data_root, out)) == 2
    told = f"{out} was moved or deleted while it was written: put it back"
    assert told in capsys.readouterr().err


def test_files_patterns_and_mistakes(checkpoint, images, tmp_path, capsys):
    folder, _ = images
    out = folder / "out"  # its pictures are no input
    assert detect(checkpoint, out, folder / "a/1.png", f"{folder}/**/*.png", folder) == 0
    assert len(pd.read_csv(out / "predictions.csv")) == 4
    assert detect(checkpoint, out, folder) == 0
    assert len(pd.read_csv(out / "predictions.csv")) == 4
    (tmp_path / "nothing").mkdir()
    for path, what in (
        (folder / "none.png", "does not exist"),
        (folder / "*.bmp", "no file matches"),
        (tmp_path / "nothing", "holds no image"),
    ):
        assert detect(checkpoint, tmp_path / "new", path) == 2
        assert what in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert detect(checkpoint, folder / "a/1.png", folder) == 2
    assert "cannot be written" in capsys.readouterr().err
    with filelock.FileLock(out / ".lock"):
        assert detect(checkpoint, out, folder) == 2
    assert "in use" in capsys.readouterr().err
    assert detect(checkpoint, out, folder, options=("--nothing",)) == 2
    assert "unknown option" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        detect(checkpoint, tmp_path / "new", "")
    assert "PATH: it is empty; give a path" in capsys.readouterr().err


def test_without_calibration_there_are_scores_only(checkpoint, images, tmp_path, caplog):
    stored = torch.load(checkpoint, weights_only=True)
    stored["padseg"]["calibration"] = None
    torch.save(stored, tmp_path / "plain.ckpt")
    assert detect(tmp_path / "plain.ckpt", tmp_path / "out", images[0]) == 0
    assert "padseg calibrate" in caplog.text
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert table["image_score"].notna().all()
    assert table[["anomalous", "regions"]].isna().all(axis=None)
    assert not (tmp_path / "out/masks").exists()
    assert len(list((tmp_path / "out/overlays").rglob("*.jpg"))) == 4


def test_another_precision_than_that_of_the_thresholds_is_told(
    checkpoint, images, tmp_path, caplog
):
    ours, found = tmp_path / "ours.ckpt", tmp_path / "found"
    shutil.copy(checkpoint, ours)
    assert main(["calibrate", str(ours), str(images[0]), *FAST]) == 0
    assert detect(ours, found, images[0]) == 0
    assert "The thresholds were set in" not in caplog.text
    other = ("--precision", "bf16-mixed")
    assert detect(ours, tmp_path / "other", images[0], options=other) == 0
    assert "set in 32-true, these images are scored in bf16-mixed" in caplog.text


def test_scores_are_compared_in_the_precision_of_the_thresholds(
    checkpoint, images, data_root, tmp_path, monkeypatch
):
    used = []
    monkeypatch.setattr("padseg.machine.precision.cpu_has_bfloat16", lambda: True)

    def before_test(cli):
        used.append(cli.trainer.precision)
        raise PadsegError("enough")

    monkeypatch.setattr(PadsegCLI, "before_test", before_test)
    for precision in ("32-true", "bf16-mixed"):
        ours = tmp_path / f"{precision}.ckpt"
        shutil.copy(checkpoint, ours)
        chosen = ["--device", "cpu", "--precision", precision]
        assert main(["calibrate", str(ours), str(images[0]), *chosen]) == 0
        assert Predictor(ours, device="cpu").precision == precision
        tested = ["test", "--ckpt_path", str(ours), f"--data.root={data_root}"]
        tested += ["--data.category=widget", "--trainer.accelerator=cpu", "--trainer.logger=false"]
        assert main(tested) == 2
    assert used == ["32-true", "bf16-mixed"]


def test_calibrate_changes_the_thresholds_and_nothing_else(checkpoint, data_root, tmp_path, caplog):
    ours = tmp_path / "ours.ckpt"
    shutil.copy(checkpoint, ours)
    good = data_root / "widget/train/good"
    assert main(["calibrate", str(ours), str(good), "--false-alarm-rate", "0.25", *FAST]) == 0
    before, after = read_checkpoint(checkpoint), read_checkpoint(ours)
    calibration = after["padseg"].pop("calibration")
    before["padseg"].pop("calibration")
    for name, value in before.pop("state_dict").items():
        assert torch.equal(value, after["state_dict"].pop(name))
    after.pop("state_dict")
    assert str(after) == str(before)
    found = Predictor(ours, device="cpu", precision="32-true")(sorted(good.iterdir()))
    assert calibration["normal_images"] == len(found) == 12
    assert sum(one.anomalous for one in found) == 2  # the tenth of 12 scores: 13 * 0.75 = 9.75
    share = np.mean([one.mask for one in found])
    assert 0.0005 < share <= 0.0011
    assert "support" not in caplog.text
    assert main(["calibrate", str(ours), str(good), *FAST]) == 0
    assert "12 normal images support a false-alarm rate of 7.7 %, not 1 %" in caplog.text


def test_calibrate_takes_good_images_once(checkpoint, data_root, tmp_path, caplog, capsys):
    ours, category = tmp_path / "ours.ckpt", tmp_path / "widget"
    shutil.copy(checkpoint, ours)
    shutil.copytree(data_root / "widget", category)
    assert main(["calibrate", str(ours), str(category), *FAST]) == 0
    assert "from 12 normal images." in capsys.readouterr().out
    assert f"{category}: the good images in its folder train are taken." in caplog.text
    caplog.clear()
    assert main(["calibrate", str(ours), str(category / "train"), *FAST]) == 0
    assert "folder train" not in caplog.text
    assert "from 12 normal images." in capsys.readouterr().out
    copies = shutil.copytree(category / "train/good", tmp_path / "again")
    assert main(["calibrate", str(ours), str(category), str(copies), *FAST]) == 0
    assert "from 12 normal images." in capsys.readouterr().out
    assert f"Left out: 12 copies of other images, such as {copies / '000.png'}." in caplog.messages
    (copies / "000.png").rename(copies / "001_mask.png")
    assert main(["calibrate", str(ours), str(copies), *FAST]) == 2
    assert "001_mask.png lies among the images, but is named like" in capsys.readouterr().err
    (copies / "nok").mkdir()
    (copies / "001_mask.png").rename(copies / "nok/000.png")
    assert main(["calibrate", str(ours), str(copies), *FAST]) == 2
    assert f"{copies / 'nok'} may hold images with defects" in capsys.readouterr().err


def test_a_checkpoint_that_changes_meanwhile_is_not_calibrated(
    checkpoint, data_root, tmp_path, monkeypatch
):
    ours, good = tmp_path / "ours.ckpt", data_root / "widget/train/good"
    shutil.copy(checkpoint, ours)
    predictor = Predictor(ours, device="cpu")

    def find(paths, **options):
        os.utime(ours, (1, 1))  # as a training that replaces it
        return find_images(paths, **options)

    monkeypatch.setattr("padseg.inference.calibrate.find_images", find)
    with pytest.raises(CheckpointError, match=r"ours\.ckpt has changed meanwhile"):
        calibrate(ours, [good], predictor, Calibrator())
    assert ours.read_bytes() == checkpoint.read_bytes()


def test_calibrate_refuses_broken_images_and_rates(checkpoint, data_root, tmp_path, capsys):
    ours, good = tmp_path / "ours.ckpt", tmp_path / "good"
    shutil.copy(checkpoint, ours)
    shutil.copytree(data_root / "widget/train/good", good)
    (good / "000.png").write_bytes(b"")
    assert main(["calibrate", str(ours), str(good), *FAST]) == 2
    assert "000.png is empty" in capsys.readouterr().err
    assert main(["calibrate", str(ours), str(good), "--false-alarm-rate", "5", *FAST]) == 2
    assert "false_alarm_rate is 5" in capsys.readouterr().err
    assert ours.read_bytes() == checkpoint.read_bytes()
    weights = tmp_path / "net.safetensors"
    assert main(["export", str(ours), "--format", "safetensors", "--out", str(weights)]) == 0
    assert main(["calibrate", str(weights), str(data_root / "widget/train/good"), *FAST]) == 2
    assert "net.safetensors is an export" in capsys.readouterr().err


def predict_args(checkpoint, data_root, out) -> list[str]:
    return [
        *("predict", "--ckpt_path", str(checkpoint), "--data.root", str(data_root)),
        *("--data.category=widget", "--data.synthesis=null", "--data.num_workers=0"),
        *("--data.batch_size=1", "--trainer.accelerator=cpu", "--trainer.precision=32-true"),
        *("--trainer.logger=false", "--trainer.enable_progress_bar=false"),
        *(f"--trainer.default_root_dir={out}-logs", f"--predictions.out={out}"),
    ]


def assert_same_results(ours, theirs):
    files = sorted(path.relative_to(ours) for path in ours.rglob("*") if path.is_file())
    files = [path for path in files if not path.name.startswith(".")]
    assert len(files) == 4 + 3 * 7
    for path in files:
        assert (ours / path).read_bytes() == (theirs / path).read_bytes(), path


def test_predict_writes_what_detect_writes(checkpoint, data_root, tmp_path, capsys):
    stored = torch.load(checkpoint, weights_only=True)
    stored["padseg"]["bits"] = 12
    checkpoint = tmp_path / "twelve.ckpt"
    torch.save(stored, checkpoint)
    root = shutil.copytree(data_root, tmp_path / "data")
    test = root / "widget/test"
    with Image.open(test / "good/000.png") as image:
        grey = np.asarray(image.convert("L"), np.uint16)
    Image.fromarray(grey << 4).save(test / "good/000.png")
    one_by_one = ("--batch-size", "1")  # convolutions round by the size of the batch
    assert detect(checkpoint, tmp_path / "detect", test, options=one_by_one) == 0
    told = capsys.readouterr().out.splitlines()[-1].replace("detect", "predict")
    for _ in range(2):  # again is afresh
        assert main(predict_args(checkpoint, root, tmp_path / "predict")) == 0
        assert capsys.readouterr().out.splitlines()[-1] == told
    assert_same_results(tmp_path / "predict", tmp_path / "detect")


def test_predict_keeps_tables_of_others(checkpoint, data_root, tmp_path, capsys):
    (tmp_path / "regions.csv").write_text("mine")
    assert main(predict_args(checkpoint, data_root, tmp_path)) == 2
    assert "regions.csv is not padseg's: pass another" in capsys.readouterr().err
    assert (tmp_path / "regions.csv").read_text() == "mine"


def test_predict_finishes_in_threads_and_names_what_it_cannot_read(
    checkpoint, data_root, tmp_path, monkeypatch, capsys
):
    threads = set()

    def open_some(path, bits):
        threads.add(threading.current_thread())
        if path.name == "001.png":
            raise DataError(f"image {path} has gone.")
        return open_rgb(path, bits)

    monkeypatch.setattr("padseg.inference.writer.open_rgb", open_some)
    with pytest.raises(SystemExit) as status:
        sys.exit(main(predict_args(checkpoint, data_root, tmp_path / "out")))
    assert status.value.code == 2
    assert "2 of 7 images could not be read" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "out/predictions.csv").set_index("path")
    assert table.loc["good/001.png", "error"].endswith("good/001.png has gone.")
    assert table["error"].notna().sum() == 2
    assert threads
    assert threading.main_thread() not in threads


def test_predict_keeps_few_score_maps_of_small_images(checkpoint, data_root, tmp_path, monkeypatch):
    submit, waiting = Results.submit, []

    def submit_and_count(self, *args):
        submit(self, *args)
        waiting.append(len(self._pending))

    monkeypatch.setattr(Results, "submit", submit_and_count)
    monkeypatch.setattr("padseg.inference.writer.image_shape", lambda _: (1, 1))
    monkeypatch.setattr("padseg.inference.results.MOST_PIXELS", 2 * 64 * 64)  # two score maps
    assert main(predict_args(checkpoint, data_root, tmp_path / "out")) == 0
    assert len(waiting) == 7
    assert max(waiting) == 2


def test_predict_tells_thresholds_of_tiles(checkpoint, images, data_root, tmp_path, caplog):
    ours = tmp_path / "ours.ckpt"
    shutil.copy(checkpoint, ours)
    assert main(["calibrate", str(ours), str(images[0]), "--tile", "32", *FAST]) == 0
    assert main(predict_args(ours, data_root, tmp_path / "out")) == 0
    assert "set with --tile 32, these images are scored without tiles" in caplog.text
    assert calibrated_thresholds(load_module(ours)).image is None


def test_scores_that_are_no_numbers_are_no_verdicts(checkpoint, images, tmp_path, capsys):
    stored = torch.load(checkpoint, weights_only=True)
    name = next(name for name in stored["state_dict"] if ".student." in name)
    stored["state_dict"][name].fill_(torch.nan)
    torch.save(stored, tmp_path / "nan.ckpt")
    assert detect(tmp_path / "nan.ckpt", tmp_path / "out", images[0]) == 2
    assert "scores in 32-true are not finite" in capsys.readouterr().err


def test_a_forbidden_path_is_told(checkpoint, tmp_path, capsys, monkeypatch):
    def forbidden(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", forbidden)
    assert detect(checkpoint, tmp_path / "out", tmp_path / "in/a.png") == 2
    assert f"{tmp_path / 'in/a.png'} cannot be read (Permission denied)" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_sigterm_stops_predictions(checkpoint, data_root, tmp_path, monkeypatch):
    submit = Results.submit

    def submit_and_tell(self, *args):
        submit(self, *args)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Results, "submit", submit_and_tell)
    with pytest.raises(SystemExit, match="stopped by SIGTERM; start it again"):
        main(predict_args(checkpoint, data_root, tmp_path / "out"))
    assert len(list((tmp_path / "out/maps").rglob("*.png"))) == 1
    monkeypatch.undo()
    assert main(predict_args(checkpoint, data_root, tmp_path / "out")) == 0


@pytest.mark.slow
def test_two_processes_predict_like_one(checkpoint, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for devices in (1, 2):
        command = predict_args(checkpoint, data_root, tmp_path / str(devices))
        command += [f"--trainer.devices={devices}", "--trainer.strategy=ddp"]
        done = subprocess.run(
            [sys.executable, "-m", "padseg", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert_same_results(tmp_path / "1", tmp_path / "2")
    # What one process does later keeps the rows of both.
    before = pd.read_csv(tmp_path / "2/predictions.csv")
    write_tables(tmp_path / "2")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "2/predictions.csv"), before)


def test_results_of_modules_in_bfloat16_depend_on_their_weights(tmp_path):
    module = tiny_student().bfloat16()

    def digest() -> str:
        return results_options(module, "32-true", None, tmp_path)["checkpoint"]

    before = digest()
    assert digest() == before
    next(module.parameters()).data.mul_(2)
    assert digest() != before


def test_the_logs_of_several_processes_become_one(tmp_path):
    of = [["a", "b", "c"], ["d", "a"]]  # the second one scored the first image again
    for process, names in enumerate(of):
        outcomes = [Outcome(name, 1, 1, image_score=process / 2) for name in names]
        log_path(tmp_path, process).write_text("".join(each.to_line() for each in outcomes))
    join_logs(tmp_path, len(of))
    assert [path.name for path in tmp_path.iterdir()] == [log_path(tmp_path).name]
    found = [(outcome.path, outcome.image_score) for outcome in read_log(log_path(tmp_path))]
    assert found == [("d", 0.5), ("b", 0.0), ("a", 0.5), ("c", 0.0)]


@pytest.mark.parametrize(
    ("line", "overwrite"),
    [
        ("\0\0\0\n", False),
        ('["b/1.png"]\n', False),
        ('{"path": "b/1.png", "odd": 1}\n', False),
        ("\0\0\0\n", True),
    ],
)
def test_damaged_lines_of_a_log_are_told_and_left_out(
    line, overwrite, checkpoint, images, tmp_path, caplog
):
    folder, names = images
    assert detect(checkpoint, tmp_path / "out", folder) == 0
    log = log_path(tmp_path / "out")
    log.write_text(line + log.read_text().split("\n", 1)[1])
    caplog.clear()
    options = ("--overwrite",) if overwrite else ()
    assert detect(checkpoint, tmp_path / "out", folder, options=options) == 0
    assert caplog.text.count("has 1 damaged line: their images count as not scored") == 1
    assert line not in log.read_text()
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert sorted(table["path"]) == sorted(names)


@pytest.mark.parametrize("damaged", [False, True])
def test_pictures_of_others_stay(damaged, checkpoint, images, tmp_path, capsys):
    folder, _ = images
    own = tmp_path / "out/masks/a/1.png.png"
    own.parent.mkdir(parents=True)
    Image.new("1", (8, 8)).save(own)
    before = own.read_bytes()
    if damaged:
        (folder / "a/1.png").write_bytes(b"")
    assert detect(checkpoint, tmp_path / "out", folder) == 2
    if not damaged:
        assert f"{own} exists and was not written by padseg" in capsys.readouterr().err
        assert not (tmp_path / "out/maps/a/1.png.png").exists()
    assert detect(checkpoint, tmp_path / "out", folder, options=("--overwrite",)) == 2
    assert own.read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the peak anew")
def test_memory_does_not_grow_with_the_images(checkpoint, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for index in range(240):
        pixels = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{index}.png", compress_level=0)

    def peak(name: str, *images: Path) -> float:
        reset_peak_memory(CPU)
        assert detect(checkpoint, tmp_path / name, *images) == 0
        return peak_memory_mb(CPU)

    few = peak("few", *(tmp_path / f"images/{index}.png" for index in range(40)))
    many = peak("many", tmp_path / "images")
    assert many - few < 60  # MiB; 200 score maps alone take 122
