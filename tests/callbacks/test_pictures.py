"""Pictures of the worst images: which ones, their names, folders and verdicts."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from sklearn.metrics import f1_score

from padseg.callbacks import EvaluationCallback, PicturesCallback, RecordsCallback
from padseg.callbacks.pictures import draw_worst
from padseg.callbacks.verdicts import Thresholds, caption, display_thresholds
from padseg.data import AnomalyDataModule
from padseg.errors import ConfigError
from padseg.inference.writer import PredictionWriter
from padseg.machine.marks import save_marked
from padseg.metrics.score_scale import ScoreScale
from padseg.records import read_records


@pytest.fixture(autouse=True)
def temporary(make_trainer, monkeypatch):
    """Records on the way lie where all machines see them, and are gone in the end."""
    made = []
    make = tempfile.mkdtemp
    monkeypatch.setattr(
        tempfile, "mkdtemp", lambda **options: made.append(make(**options)) or made[-1]
    )
    yield
    root = Path(make_trainer().default_root_dir)
    assert {Path(folder).parent for folder in made} <= {root}
    assert not list(root.glob(".padseg-*"))


@pytest.mark.parametrize(
    ("method", "taken", "error"),
    [
        ("test", "file", NotADirectoryError),
        ("validate", "file/pictures/val/normal.png/x", IsADirectoryError),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_before_the_evaluation(
    module, make_data, make_trainer, tmp_path, method, taken, error
):
    (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / taken).write_text("")
    evaluation = EvaluationCallback()
    trainer = make_trainer(evaluation, PicturesCallback(tmp_path / "file/pictures"))
    with pytest.raises(error):
        getattr(trainer, method)(module, datamodule=make_data(), verbose=False)
    assert not int(evaluation.pixel.images)


def test_the_worst_come_first(tested, data_root, tmp_path):
    pictures = PicturesCallback(str(tmp_path / "pictures"), count=2)
    others = [tmp_path / "pictures/test" / name for name in ("good/000.png", "cut-01-a.png")]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    save_marked(Image.new("L", (8, 8)), tmp_path / "pictures/test/defect-02-old-7.png")
    records = RecordsCallback(tmp_path / "records", data_root)
    tested(EvaluationCallback(), pictures, records)
    table = read_records(tmp_path / "records").table
    table["stem"] = [path.rpartition("/")[2].removesuffix(".png") for path in table["path"]]
    normal = table[table["label"] == 0].sort_values("image_score", ascending=False)["stem"]
    defect = table[table["label"] == 1].sort_values("image_score")["stem"]
    for path in others:  # of somebody else
        path.unlink()
    (tmp_path / "pictures/test/good").rmdir()
    assert sorted(path.name for path in (tmp_path / "pictures/test").iterdir()) == [
        *(f"defect-0{place}-spot-{stem}.png" for place, stem in enumerate(defect[:2], 1)),
        *(f"normal-0{place}-good-{stem}.png" for place, stem in enumerate(normal[:2], 1)),
    ]
    for path in (tmp_path / "pictures/test").iterdir():
        with Image.open(path) as image:
            assert image.width > 2 * 256
            assert image.height > 2 * 256


def test_thresholds_without_calibration_are_those_of_the_best_f1(
    module, tested, make_calibration, data_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "calibration", None)
    trainer = tested(EvaluationCallback(), RecordsCallback(tmp_path, data_root))
    found = display_thresholds(trainer, module, "test")
    table = read_records(tmp_path).table
    best = float(trainer.callback_metrics["image_f1max"])
    verdicts = table["image_score"] > found.image
    assert f1_score(table["label"], verdicts) == pytest.approx(best, abs=1e-6)
    records = read_records(tmp_path)
    masks = np.concatenate([records.mask(index).ravel() for index in table["index"]])
    maps = np.concatenate([records.score_map(index).ravel() for index in table["index"]])
    best = float(trainer.callback_metrics["pixel_f1max"])
    # A curve has some hundred points.
    assert f1_score(masks, maps > found.pixel) == pytest.approx(best, abs=5e-3)
    monkeypatch.setattr(module, "calibration", make_calibration(0.25, 0.5))
    assert display_thresholds(trainer, module, "test")[:2] == (0.25, 0.5)


def test_a_validation_replaces_the_one_before(module, make_data, make_trainer, tmp_path):
    (tmp_path / "val").mkdir(parents=True)
    save_marked(
        Image.new("L", (8, 8)), tmp_path / "val/normal-04-good-000.png"
    )  # of the one before
    (tmp_path / "val/defect-01-mine.png").touch()
    trainer = make_trainer(EvaluationCallback(), PicturesCallback(str(tmp_path)))
    trainer.validate(module, datamodule=make_data(), verbose=False)
    names = sorted(path.name for path in (tmp_path / "val").iterdir())
    names.remove("defect-01-mine.png")
    assert len(names) == 5  # 40 % of 12 images
    assert [name.split("-")[0] for name in names] == ["defect"] * 2 + ["normal"] * 3
    assert "synthetic" in names[0]
    assert [path.name for path in tmp_path.iterdir()] == ["val"]


def test_a_validation_without_defects(module, data_root, make_trainer, tmp_path):
    data = AnomalyDataModule(
        *(str(data_root), "widget"), image_size=64, synthesis=None, val_fraction=0.4, num_workers=0
    )
    trainer = make_trainer(EvaluationCallback(), PicturesCallback(str(tmp_path), count=3))
    trainer.validate(module, datamodule=data, verbose=False)
    assert all(path.name.startswith("normal-") for path in (tmp_path / "val").iterdir())
    assert len(list((tmp_path / "val").iterdir())) == 3
    assert display_thresholds(trainer, module, "val") == Thresholds()


def test_tensorboard_gets_the_pictures_and_csv_none(tested, tmp_path):
    loggers = [TensorBoardLogger(tmp_path, name="board"), CSVLogger(tmp_path, name="csv")]
    tested(EvaluationCallback(), PicturesCallback(), logger=loggers)
    (events,) = (tmp_path / "board").rglob("events*")
    content = events.read_bytes()
    assert b"test/defect-01" in content
    assert b"test/normal-01" in content
    assert content.count(b"\x89PNG") == 7
    table = pd.read_csv(next((tmp_path / "csv").rglob("metrics.csv")))
    assert "image_auroc" in table.columns


def test_nothing_is_recorded_for_nobody(tested):
    pictures = PicturesCallback()
    assert not pictures.should_record(tested(pictures), "test")


def test_a_failure_leaves_nothing_behind(tested, tmp_path):
    class Breaks(PicturesCallback):
        def on_test_batch_end(self, *args):
            super().on_test_batch_end(*args)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        tested(Breaks(str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_any_label_makes_a_plain_name(tested, data_root, tmp_path):
    tested(EvaluationCallback(), RecordsCallback(tmp_path, data_root))
    records = read_records(tmp_path)
    records.table["defect"] = records.table["defect"].replace("spot", "../large\\spot")
    names = [name for name, _ in draw_worst(records, 1, Thresholds())]
    assert len(names) == 2
    assert names[1].startswith("defect-01-.._large_spot-")


@pytest.mark.parametrize(
    ("label", "score", "threshold", "expected"),
    [
        (0, 0.5, 0.4, "false alarm, score 0.5000 > 0.4000: good/7.png"),
        (0, 0.4, 0.4, "passed normal, score 0.4000 <= 0.4000: good/7.png"),
        (1, 0.3, 0.4, "missed defect, score 0.3000 <= 0.4000: cut/7.png"),
        (1, 0.5, 0.4, "found defect, score 0.5000 > 0.4000: cut/7.png"),
        (1, 0.5, None, "defect, score 0.5000: cut/7.png"),
    ],
)
def test_titles(label, score, threshold, expected):
    row = pd.Series(
        {
            "label": label,
            "image_score": score,
            "defect": "cut" if label else "good",
            "path": "a/7.png",
        }
    )
    assert caption(row, Thresholds(threshold)) == expected
    if threshold is not None:
        normalised = caption(row, Thresholds(threshold, image_scale=ScoreScale(threshold, 0.2)))
        assert normalised.split(":")[1] == expected.split(":")[1]
        assert normalised.split(",")[0] == expected.split(",")[0]
        assert normalised.split(":")[0].endswith(" 0.5000")


def test_count_is_checked():
    with pytest.raises(ConfigError, match=r"--pictures\.count"):
        PicturesCallback(count=0)


@pytest.mark.parametrize(
    "folder", [lambda: PicturesCallback("~/x").target, lambda: PredictionWriter("~/x").out]
)
def test_a_folder_may_be_named_from_home(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert folder() == tmp_path / "x"
