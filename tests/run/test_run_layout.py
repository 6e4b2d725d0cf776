"""`padseg run` on a user's folder without masks."""

import os
import shutil
import sys

import pandas as pd
import pytest
from torch._utils import ExceptionWrapper

from padseg.cli import main
from padseg.data.held_out import split_held_out
from padseg.data.image_files import list_images
from padseg.errors import DataError
from padseg.machine.files import read_json
from tiny import tiny_arguments


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:pixel_auroc, .* not defined")
def test_a_folder_without_masks_has_image_figures(data_root, tmp_path, capsys):
    root, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data_root, root)
    shutil.rmtree(root / "widget/ground_truth")
    arguments = stpm(root, out, "--data.num_workers", "0", "--trainer.enable_progress_bar", "false")
    assert main(arguments) == 2
    assert "there is no mask for 4 images with defects in" in capsys.readouterr().err
    assert main([*arguments, "--data.layout", "folder"]) == 2
    assert "--data.layout cannot be set here: use --layout." in capsys.readouterr().err
    assert main([*arguments, "--layout", "folder"]) == 0
    assert read_json(out / "mine/widget/seed0/options.json")["layout"] == "folder"
    table = pd.read_csv(out / "results.csv")
    assert table[["image_auroc", "image_ap"]].notna().all(axis=None)
    assert table[["pixel_auroc", "pro", "iap90"]].isna().all(axis=None)


def stpm(root, out, *more: str) -> list[str]:
    return [
        *("run", "stpm", "--root", str(root), "--category", "widget", "--out", str(out)),
        *("--steps", "1", "--batch-size", "4", "--weights", "random", "--label", "mine"),
        *(*tiny_arguments(), *more),
    ]


def test_a_broken_test_image_is_told_before_the_training(data_root, tmp_path, capsys):
    root, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data_root, root)
    image = root / "widget/test/good/000.png"
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    assert main(stpm(root, out)) == 2
    assert "000.png cannot be read" in capsys.readouterr().err
    assert not list((out / "mine/widget/seed0").glob("*.ckpt"))


def test_an_image_that_a_list_names_and_nobody_finds(tmp_path, capsys):
    (tmp_path / "samples.csv").write_text("path,split,label\ngone.png,train,ok\n")
    assert main(stpm(tmp_path, tmp_path / "out", "--layout", "folder", "--seed", "0", "1")) == 2
    told = capsys.readouterr()
    assert "2 of 2 runs failed" in told.err
    assert "test results" not in told.out
    assert main(stpm(tmp_path, tmp_path / "out", "--layout", "folder")) == 2
    assert "gone.png cannot be read (No such file" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8(data_root, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    good = root / "widget/train/good"
    image = good / "000.png"
    image.rename(os.fsdecode(os.fsencode(good) + b"/\xe4.png"))
    train, held_out = split_held_out(list_images(good), 0.5)
    assert len(train) == len(held_out)
    assert main(stpm(root, tmp_path / "out")) == 2
    told = capsys.readouterr().err
    assert "\\udce4.png' is not UTF-8: rename it" in told


def test_what_a_data_worker_tells_is_one_sentence():
    try:
        raise DataError("a.png is empty: restore it.")
    except DataError:
        handed_on = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(DataError) as error:
        handed_on.reraise()
    assert "Traceback" in error.value.args[0]
    assert str(error.value) == "a.png is empty: restore it."
