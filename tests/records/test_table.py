"""The table of an evaluation, and the choice of images from it."""

import os

import numpy as np
import pandas as pd

from padseg.records import COLUMNS, choose_images, read_records, worst_first, write_table


def table_of(scores: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"index": range(len(scores)), "label": labels, "image_score": scores})


def test_worst_first():
    table = table_of(np.array([0.1, 0.9, 0.5, 0.3, 0.2]), np.array([0, 0, 1, 1, 0]))
    assert worst_first(table, 2) == ([1, 4], [3, 2])


def test_chosen_are_the_worst_and_the_others_evenly():
    rng = np.random.default_rng(0)
    table = table_of(rng.permutation(2000) / 2000, rng.integers(0, 2, 2000))
    chosen = choose_images(table, 100)
    assert len(chosen) == len(set(chosen)) == 100
    normal, defective = worst_first(table, 5)
    assert {*normal, *defective} <= set(chosen)
    ranks = np.sort(table["image_score"][chosen])
    assert np.diff(ranks).max() < 0.025
    assert choose_images(table.head(30), 100) == list(range(30))


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    name = os.fsdecode(b"\xe4.png")
    row = {"index": 0, "path": name, "defect": "good", "label": 0, "image_score": 0.5}
    write_table(tmp_path / "images.csv", pd.DataFrame([row], columns=COLUMNS, dtype=object))
    assert list(read_records(tmp_path).table["path"]) == [name]
    assert b"\xe4.png" in (tmp_path / "images.csv").read_bytes()
