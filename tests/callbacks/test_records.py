"""What `padseg run` saves for the report, against the files and the model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from padseg.callbacks import EvaluationCallback, RecordsCallback
from padseg.metrics.curves import CURVES
from padseg.records import read_records
from tiny import save_module


def test_the_records_are_what_the_model_answered(module, tested, data_root, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/00099.png").write_bytes(b"of an earlier run")
    tested(EvaluationCallback(), RecordsCallback(tmp_path, data_root))
    assert {path.name for path in tmp_path.iterdir()} == {
        *("images.csv", "curves.json", "maps", "thumbs", "masks")
    }
    table = pd.read_csv(tmp_path / "images.csv")
    assert list(table.columns) == ["index", "path", "defect", "label", "image_score", "anomalous"]
    assert list(table["index"]) == list(range(7))
    assert list(table["defect"]) == ["good"] * 3 + ["spot"] * 4
    assert list(table["label"]) == [0] * 3 + [1] * 4
    assert table["anomalous"].isna().all()
    assert table["path"][3] == "widget/test/spot/000.png"
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == [
        f"0000{index}.png" for index in range(3, 7)
    ]
    assert len(list((tmp_path / "maps").iterdir())) == 7
    records = read_records(tmp_path)
    for index, path in enumerate(table["path"]):
        with Image.open(data_root / path) as image:
            pixels = np.array(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
        with torch.no_grad():
            scores = module.eval()(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        found = records.score_map(index)
        np.testing.assert_allclose(found, scores["score_map"][0, 0], atol=1e-5)
        assert table["image_score"][index] == pytest.approx(float(scores["image_score"]), abs=1e-5)
        difference = np.abs(records.image(index).astype(int) - pixels)
        assert difference.mean() < 5  # JPEG
        if table["label"][index]:
            mask = data_root / f"widget/ground_truth/spot/{Path(path).stem}_mask.png"
            with Image.open(mask) as image:
                share = np.array(image.convert("F").resize((64, 64), Image.Resampling.BILINEAR))
            assert (records.mask(index) == (share >= 127.5)).all()
        else:
            assert not records.mask(index).any()
    with Image.open(tmp_path / "maps/00000.png") as image:
        assert image.mode.startswith("I;16")


def test_pictures_are_as_wide_as_the_files(tested, make_data, data_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    for path in [*root.rglob("test/*/000.png"), *root.rglob("000_mask.png")]:
        with Image.open(path) as image:
            image.resize((120, 40)).save(path)
    out = tmp_path / "out"
    tested(RecordsCallback(out, root), data=make_data(root))
    records = read_records(out)
    for row in records.table.itertuples():
        size = (21, 64) if row.path.endswith("000.png") else (64, 64)
        assert records.image(row.index).shape == (*size, 3)
        assert records.score_map(row.index).shape == records.mask(row.index).shape == size


def test_the_curves_are_the_metrics(tested, data_root, tmp_path):
    trainer = tested(EvaluationCallback(), RecordsCallback(tmp_path, data_root))
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert set(curves) == {
        *("pixel_precision_recall", "pixel_roc", "pro", "iap"),
        *("image_precision_recall", "image_roc"),
    }
    for name, curve in curves.items():
        assert {CURVES[name].x, CURVES[name].y, "threshold"} == set(curve)
        assert len({len(values) for values in curve.values()}) == 1
        assert len(curve["threshold"]) <= 256
    roc = curves["image_roc"]
    assert roc["threshold"][0] is None  # infinite
    area = np.trapezoid(roc["tpr"], roc["fpr"])
    assert area == pytest.approx(float(trainer.callback_metrics["image_auroc"]), abs=1e-6)
    roc = curves["pixel_roc"]
    area = np.trapezoid(roc["tpr"], roc["fpr"])
    assert area == pytest.approx(float(trainer.callback_metrics["pixel_auroc"]), abs=0.01)
    assert roc["fpr"][-1] == roc["tpr"][-1] == 1


def test_verdicts_follow_the_calibration(module, tested, make_calibration, data_root, tmp_path):
    tested(RecordsCallback(tmp_path, data_root))
    scores = pd.read_csv(tmp_path / "images.csv")["image_score"]
    threshold = float(scores[4])  # a score at the threshold is normal
    module.calibration = make_calibration(threshold, 0.5)
    try:
        tested(RecordsCallback(tmp_path, data_root))
    finally:
        module.calibration = None
    assert list(read_records(tmp_path).table["anomalous"]) == list(scores > threshold)
    assert json.loads((tmp_path / "curves.json").read_text()) == {}  # nobody evaluated


def test_the_number_of_pictures_is_bounded(tested, data_root, tmp_path):
    tested(RecordsCallback(str(tmp_path), str(data_root), limit=3))  # folders may be strings
    table = pd.read_csv(tmp_path / "images.csv")
    assert len(table) == 7
    assert table["path"][0] == "widget/test/good/000.png"
    assert len(list((tmp_path / "maps").iterdir())) == 3
    assert len(list((tmp_path / "thumbs").iterdir())) == 3


def test_a_failed_test_leaves_no_table(tested, data_root, tmp_path):
    class Breaks(EvaluationCallback):
        def on_test_epoch_end(self, trainer, pl_module):
            raise RuntimeError("broken")

    tested(RecordsCallback(tmp_path, data_root))
    with pytest.raises(RuntimeError, match="broken"):
        tested(Breaks(), RecordsCallback(tmp_path, data_root))
    assert not (tmp_path / "images.csv").exists()


@pytest.mark.slow
def test_two_processes_leave_what_one_leaves(module, tested, data_root, tmp_path):
    tested(RecordsCallback(tmp_path / "one", data_root))
    checkpoint = save_module(module, tmp_path / "module.ckpt")
    arguments = [
        *("test", f"--ckpt_path={checkpoint}", f"--data.root={data_root}"),
        *("--data.category=widget", "--data.synthesis=null", "--data.batch_size=1"),
        *("--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.devices=2"),
        *("--trainer.strategy=ddp", "--trainer.logger=false", "--trainer.precision=32-true"),
        f"--trainer.default_root_dir={tmp_path}",
        *("--trainer.callbacks+=padseg.callbacks.RecordsCallback",),
        *(f"--trainer.callbacks.folder={tmp_path}/two", f"--trainer.callbacks.root={data_root}"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "padseg", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two = (read_records(tmp_path / name) for name in ("one", "two"))
    assert {p.name for p in two.folder.iterdir()} == {p.name for p in one.folder.iterdir()}
    pd.testing.assert_frame_equal(one.table, two.table, atol=1e-5)
    for index in one.table["index"]:
        np.testing.assert_allclose(one.score_map(index), two.score_map(index), atol=1e-4)
        assert (one.mask(index) == two.mask(index)).all()
