"""`padseg run` on a folder of one's own, without masks."""

import shutil

import pandas as pd

from padseg.cli import main
from padseg.files import read_json


def test_a_folder_without_masks_has_image_figures(data_root, tmp_path, capsys):
    root, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data_root, root)
    shutil.rmtree(root / "widget/ground_truth")
    arguments = [
        *("run", "stpm", "--root", str(root), "--category", "widget", "--out", str(out)),
        *("--steps", "1", "--batch-size", "4", "--weights", "random", "--label", "mine"),
        *("--model.teacher", "test_resnet", "--model.image_size", "64", "--data.num_workers", "0"),
        *("--trainer.enable_progress_bar", "false"),
    ]
    assert main(arguments) == 2
    assert "4 files cannot be used" in capsys.readouterr().err
    assert main([*arguments, "--data.layout", "folder"]) == 2
    assert "--data.layout is --layout here" in capsys.readouterr().err
    assert main([*arguments, "--layout", "folder"]) == 0
    assert read_json(out / "mine/widget/seed0/options.json")["layout"] == "folder"
    table = pd.read_csv(out / "results.csv")
    assert table[["image_auroc", "image_ap"]].notna().all(axis=None)
    assert table[["pixel_auroc", "pro", "iap90"]].isna().all(axis=None)
