"""Samples from a CSV or Parquet file."""

import unicodedata
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from padseg.data import tables
from padseg.data.file_checks import check_files
from padseg.data.layouts import list_samples, list_trainable
from padseg.errors import DataError

from .conftest import listed

TABLE = pd.DataFrame(
    {
        "path": ["a/0.png", "a\\1.png", "a/2.png", "b/0.png"],
        "split": ["train", "VAL", "test", "train"],
        "label": [0, 0, 1, 0],
        "mask": [None, None, "a/2_m.png", None],
        "category": ["a", "a", "a", "b"],
    }
)


@pytest.mark.parametrize("name", ["samples.csv", "Samples.CSV", "samples.parquet"])
def test_list(tmp_path, name):
    write = TABLE.to_parquet if name.endswith("parquet") else TABLE.to_csv
    write(tmp_path / name, index=False)
    assert listed(tmp_path, "a", "folder") == [
        ("a/0.png", "train", "good", []),
        ("a/1.png", "validation", "good", []),
        ("a/2.png", "test", "1", ["a/2_m.png"]),
    ]
    assert len(listed(tmp_path, "b", "folder")) == 1
    with pytest.raises(DataError, match=rf"{name}, pass --layout folder"):
        list_samples(tmp_path, "a")
    with pytest.raises(DataError, match=r"'c' does not exist in .* which has a, b"):
        list_samples(tmp_path, "c", "folder")


def test_parquet_labels_of_any_type(tmp_path):
    for labels in ([0.0, 1.0, None, 0.0], [False, True, None, False]):
        table = TABLE.assign(
            label=pd.Series(labels, dtype=None), split=["train", "test", "test", "train"]
        )
        table[table["label"].notna()].to_parquet(tmp_path / "samples.parquet", index=False)
        defects = [defect for *_, defect, _ in listed(tmp_path, "a", "folder")]
        assert defects[0] == "good"
        assert defects[1].casefold() in ("1", "true")


@pytest.mark.parametrize(("mark", "name"), [(",", "Ä.png"), (";", "Ä, 1.png")])
def test_list_from_excel(tmp_path, mark, name):
    rows = [["path", "split", "label"], [name, "train", "ok"]]
    text = "".join(mark.join(row) + "\r\n" for row in rows)
    (tmp_path / "samples.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert listed(tmp_path, "any", "folder") == [(name, "train", "good", [])]


def test_words_of_a_list_are_no_empty_cells(tmp_path):
    words = ["None", "NA", "null", "n/a", "nan"]
    rows = [f"{word}.png,test,{word},,null" for word in words]
    text = "\n".join(["path,split,label,mask,category", "0.png,train,good,,null", *rows])
    (tmp_path / "samples.csv").write_text(text)
    assert listed(tmp_path, "null", "folder") == [
        ("0.png", "train", "good", []),
        *((f"{word}.png", "test", word, []) for word in words),
    ]


def test_lists_of_other_systems(tmp_path):
    """Blanks, words in capitals, an empty last column, and accents as macOS encodes them."""
    composed, apart = (unicodedata.normalize(form, "Stück") for form in ("NFC", "NFD"))
    text = f" Path , SPLIT,label ,Category,\n{composed}/0.png , train, good, {apart},\n\n"
    text += f"{composed}/{composed}.png,Test , Loch ,{composed} ,,\n"
    (tmp_path / "samples.csv").write_text(text)
    (tmp_path / apart).mkdir()
    for name in ("0.png", f"{apart}.png"):
        (tmp_path / apart / name).touch()
    for category in (composed, apart, f" {composed}"):
        samples = list_samples(tmp_path, category, "folder")
        assert [(sample.split, sample.defect) for sample in samples] == [
            ("train", "good"),
            ("test", "Loch"),
        ]
        assert all(sample.path.exists() for sample in samples)


def test_a_folder_is_searched_for_other_spellings_once(tmp_path, monkeypatch):
    text = "path,split,label\n" + "".join(f"a/{n}.jpg,train,good\n" for n in range(9))
    (tmp_path / "samples.csv").write_text(text)
    (tmp_path / "a").mkdir()
    searched = []
    monkeypatch.setattr(
        type(tmp_path), "iterdir", lambda self: searched.append(self) or iter([self / "0.png"])
    )
    assert len(list_samples(tmp_path, "x", "folder")) == 9
    assert searched == [tmp_path / "a"]


def test_a_comma_too_many_is_told(tmp_path):
    text = "path,split,label,mask\n0.png,train,good\n\n1, 2.png,test,cut,m.png,\n"
    (tmp_path / "samples.csv").write_text(text.replace("m.png,", "m.png"))
    with pytest.raises(
        DataError, match="row 3 below the header has 5 cells, the header 4; put cells"
    ):
        list_samples(tmp_path, "x", "folder")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("../x.png,train,good", "row 4 below the header: path '../x.png' is absolute or leads out"),
        (
            "/etc/x.png,train,good",
            "is absolute or leads out of the data set's folder; give it relative",
        ),
        ("C:\\x.png,train,good", "leads out"),
        ("a/..\\..\\x.png,train,good", "leads out"),
        (",train,good", "names no file"),
        ("x.png,trian,good", "split is 'trian'"),
        ("x.png,test,", "label is empty"),
        ("x.png,train,dent", "only normal images are trained on"),
        ("x.png,train,OK?", "only normal images are trained on"),
        ("x.png", "split is ''"),
        ("./0.png,test,dent", "is in another row already"),
    ],
)
def test_wrong_rows_are_named(tmp_path, row, told):
    (tmp_path / "samples.csv").write_text(f"\npath,split,label\n0.png,train,good\n\n,,\n{row}\n")
    with pytest.raises(DataError, match=r"samples\.csv, row 4") as error:
        list_samples(tmp_path, "x", "folder")
    assert told in str(error.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_good_row_may_have_an_empty_mask_only(tmp_path, split):
    table = tmp_path / "samples.csv"
    table.write_text(f"path,split,label,mask\n0.png,train,good,gone.png\n1.png,{split},ok,m.png\n")
    Image.new("L", (8, 8)).save(tmp_path / "m.png")
    for name in ("0.png", "1.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    assert listed(tmp_path, "x", "folder")[1] == ("1.png", split, "good", ["m.png"])
    assert check_files(list_samples(tmp_path, "x", "folder")) == []
    Image.new("L", (8, 8), 255).save(tmp_path / "m.png")
    (found,) = check_files(list_samples(tmp_path, "x", "folder"))
    assert found.blocks
    assert found.message.startswith(f"mask {tmp_path / 'm.png'} marks a defect, but ")


def test_a_list_is_read_again_only_if_it_changed(tmp_path, monkeypatch):
    read = Mock(wraps=tables._read)
    monkeypatch.setattr(tables, "_read", read)
    for count in (1, 2):
        rows = [f"{number}.png,train,good" for number in range(count)]
        (tmp_path / "samples.csv").write_text("\n".join(["path,split,label", *rows]))
        for _ in range(3):
            assert len(list_samples(tmp_path, "x", "folder")) == count
    assert read.call_count == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read"),
        (b"path\tsplit\tlabel\n", "has the columns path\tsplit\tlabel"),
        (b"\xff\xfe\x00\x01", "cannot be read"),
        (b'path,split,label\n"a', "cannot be read"),
        (b"path,split,label\n", "no normal training images"),
    ],
)
def test_broken_lists(tmp_path, content, told):
    (tmp_path / "samples.csv").write_bytes(content)
    with pytest.raises(DataError, match=told):
        list_trainable(tmp_path, "x", "folder")


def test_broken_parquet(tmp_path):
    (tmp_path / "samples.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"samples\.parquet cannot be read"):
        list_samples(tmp_path, "x", "folder")


def test_a_row_without_a_category_is_named(tmp_path):
    TABLE.assign(category=["a", "a", " ", "b"]).to_csv(tmp_path / "samples.csv", index=False)
    with pytest.raises(DataError, match=r"row 3 below the header: category is empty"):
        list_samples(tmp_path, "a", "folder")


def test_a_mask_of_two_images_is_told(tmp_path):
    rows = ["0.png,train,good,", "1.png,test,dent,m.png", "2.png,test,dent,m.png"]
    (tmp_path / "samples.csv").write_text("\n".join(["path,split,label,mask", *rows]))
    for name in ("0.png", "1.png", "2.png", "m.png"):
        Image.new("L", (8, 8), ord(name[0])).save(tmp_path / name)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    (found,) = check_files(list_samples(tmp_path, "x", "folder"))
    assert found.kind == "shared mask"
    assert f"is that of both {tmp_path / '1.png'} and {tmp_path / '2.png'}" in found.message
