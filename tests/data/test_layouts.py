"""Each layout on a folder tree written here file by file, as in the published archive."""

import errno
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from padseg.data.download import SOURCES
from padseg.data.layouts import LAYOUTS, list_samples, list_trainable
from padseg.data.unused import check_unused
from padseg.errors import ConfigError, DataError
from padseg.names import DATA_SET_NAMES, LAYOUT_NAMES

from .conftest import listed


def touch(root: Path, *names: str) -> None:
    """Listing opens no file, so that these can be empty."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_names_are_the_same_everywhere():
    assert set(LAYOUTS) == set(LAYOUT_NAMES)
    assert set(SOURCES) == set(DATA_SET_NAMES)


def test_mvtec(tmp_path):
    touch(
        tmp_path,
        *("b/train/good/1.PNG", "b/train/good/0.png", "b/train/good/.hidden.png"),
        *("b/train/good/notes.txt", "b/test/good/0.Jpeg", "b/test/cut/0.png", "b/test/cut/1.png"),
        *("b/ground_truth/cut/0_mask.png", "b/ground_truth/cut/1.tif", "b/test/.ipynb/0.png"),
    )
    assert listed(tmp_path, "b", "mvtec") == [
        ("b/train/good/0.png", "train", "good", []),
        ("b/train/good/1.PNG", "train", "good", []),
        ("b/test/cut/0.png", "test", "cut", ["b/ground_truth/cut/0_mask.png"]),
        ("b/test/cut/1.png", "test", "cut", ["b/ground_truth/cut/1.tif"]),
        ("b/test/good/0.Jpeg", "test", "good", []),
    ]


def test_the_root_may_be_a_string(data_root):
    assert list_samples(str(data_root), "widget") == list_samples(data_root, "widget")


def test_mvtec_loco(tmp_path):
    masks = [f"p/ground_truth/logical_anomalies/000/{number:03}.png" for number in range(3)]
    touch(tmp_path, "p/train/good/0.png", "p/validation/good/0.png", "p/test/good/0.png", *masks)
    touch(tmp_path, "p/test/logical_anomalies/000.png")
    assert listed(tmp_path, "p", "mvtec_loco") == [
        ("p/train/good/0.png", "train", "good", []),
        ("p/validation/good/0.png", "validation", "good", []),
        ("p/test/good/0.png", "test", "good", []),
        ("p/test/logical_anomalies/000.png", "test", "logical_anomalies", masks),
    ]


def test_mvtec_ad_2(tmp_path):
    touch(
        tmp_path,
        *("can/train/good/0.png", "can/validation/good/0.png", "can/test_private/0.png"),
        *("can/test_public/good/0.png", "can/test_public/bad/0.png"),
        "can/test_public/ground_truth/bad/0_mask.png",
    )
    assert listed(tmp_path, "can", "mvtec_ad_2") == [
        ("can/train/good/0.png", "train", "good", []),
        ("can/validation/good/0.png", "validation", "good", []),
        (
            "can/test_public/bad/0.png",
            "test",
            "bad",
            ["can/test_public/ground_truth/bad/0_mask.png"],
        ),
        ("can/test_public/good/0.png", "test", "good", []),
    ]


def test_btad(tmp_path):
    touch(
        tmp_path,
        *("03/train/ok/0.bmp", "03/test/ok/1.bmp", "03/test/ko/2.bmp", "03/ground_truth/ko/2.bmp"),
    )
    assert listed(tmp_path, "03", "btad") == [
        ("03/train/ok/0.bmp", "train", "good", []),
        ("03/test/ko/2.bmp", "test", "ko", ["03/ground_truth/ko/2.bmp"]),
        ("03/test/ok/1.bmp", "test", "good", []),
    ]


def test_visa(tmp_path):
    data = "candle/Data"
    rows = [
        "object,split,label,image,mask",
        f"candle,train,normal,{data}/Images/Normal/0000.JPG,",
        f"candle,test,normal,{data}/Images/Normal/0001.JPG,",
        f"candle,test,anomaly,{data}/Images/Anomaly/000.JPG,{data}/Masks/Anomaly/000.png",
        "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,",
    ]
    touch(tmp_path, "split_csv/1cls.csv")
    (tmp_path / "split_csv/1cls.csv").write_text("\n".join(rows))
    assert listed(tmp_path, "candle", "visa") == [
        (f"{data}/Images/Normal/0000.JPG", "train", "good", []),
        (f"{data}/Images/Normal/0001.JPG", "test", "good", []),
        (f"{data}/Images/Anomaly/000.JPG", "test", "anomaly", [f"{data}/Masks/Anomaly/000.png"]),
    ]
    with pytest.raises(DataError, match=r"'pcb9' does not exist in .* which has candle, pcb1"):
        list_samples(tmp_path, "pcb9", "visa")


def test_kolektorsdd(tmp_path):
    empty, defect = np.zeros((20, 8), np.uint8), np.zeros((20, 8), np.uint8)
    defect[4:6] = 255
    for item in range(1, 6):
        folder = tmp_path / f"K/kos{item:02}"
        folder.mkdir(parents=True)
        for part, label in enumerate((empty, defect if item == 2 else empty)):
            Image.fromarray(label).save(folder / f"Part{part}_label.bmp")
            (folder / f"Part{part}.jpg").touch()
    samples = listed(tmp_path, "K", "kolektorsdd")
    tested = [sample for sample in samples if sample[1] == "test"]
    assert tested == [
        ("K/kos02/Part1.jpg", "test", "defect", ["K/kos02/Part1_label.bmp"]),
        ("K/kos05/Part0.jpg", "test", "good", []),
        ("K/kos05/Part1.jpg", "test", "good", []),
    ]
    assert len(samples) == 10
    (tmp_path / "K/kos03/Part0_label.bmp").unlink()
    with pytest.raises(DataError, match=r"Part0_label\.bmp is missing"):
        list_samples(tmp_path, "K", "kolektorsdd")


def test_folder_of_normal_images_alone(tmp_path):
    touch(tmp_path, "parts/b.JPG", "parts/a.png", "parts/.c.png")
    assert [name for name, *_ in listed(tmp_path, "parts", "folder")] == [
        "parts/a.png",
        "parts/b.JPG",
    ]


def test_folder_with_sub_folders(tmp_path):
    touch(
        tmp_path,
        *(
            "w/train/monday/0.png",
            "w/train/1.png",
            "w/validation/2.png",
            "w/test/good/line 1/0.png",
        ),
        *("w/test/dent/line 1/0.png", "w/test/dent/1.png"),
        *("w/ground_truth/dent/line 1/0_mask.png", "w/ground_truth/dent/1.bmp"),
    )
    assert listed(tmp_path, "w", "folder") == [
        ("w/train/1.png", "train", "good", []),
        ("w/train/monday/0.png", "train", "good", []),
        ("w/validation/2.png", "validation", "good", []),
        ("w/test/dent/1.png", "test", "dent", ["w/ground_truth/dent/1.bmp"]),
        ("w/test/dent/line 1/0.png", "test", "dent", ["w/ground_truth/dent/line 1/0_mask.png"]),
        ("w/test/good/line 1/0.png", "test", "good", []),
    ]
    touch(tmp_path, "w/test/3.png")
    with pytest.raises(DataError, match=r"3\.png lies directly in .*: move it"):
        list_samples(tmp_path, "w", "folder")


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (["Rejects/1.png"], "Rejects is named like a folder of defects"),
        (["monday/NG/1.png"], "NG is named like a folder of defects"),
        (["Dent/1.png"], "Dent is named like a folder of defects"),
        (["ok/0.png", "scratch/1.png"], "scratch lies beside a folder of good images"),
        (
            ["monday/good/0.png", "monday/scratch/1.png"],
            "scratch lies beside a folder of good images",
        ),
    ],
)
def test_defects_among_what_is_trained_on_are_refused(train, said, tmp_path):
    touch(tmp_path, "v/train/tuesday/0.png", "v/test/dent/2.png", "v/test/OK/3.png")
    touch(tmp_path, *(f"v/train/{name}" for name in train))
    with pytest.raises(DataError, match=rf"{said}, but everything in .* move it elsewhere"):
        list_samples(tmp_path, "v", "folder")


@pytest.mark.parametrize(
    "name",
    [
        *("Gut", "iO", "i.O", "Fehlerfrei", "Defect-free", "no_defects", "sans défaut", "PASS"),
        *("non-defective", "senza difetti", "ohne Fehler", "ok_front"),
    ],
)
def test_folders_of_good_parts_have_many_names(tmp_path, name):
    touch(tmp_path, *(f"v/{part}/{name}/1.png" for part in ("train", "test", "test_public")))
    for layout in ("folder", "mvtec", "mvtec_ad_2", "btad"):
        samples = list_samples(tmp_path, "v", layout)
        assert [(each.split, each.defect) for each in samples] == [
            ("train", "good"),
            ("test", "good"),
        ]
    touch(tmp_path, f"v/ground_truth/{name}/1.png")  # an empty one
    assert {each.kind for each in check_unused(tmp_path / "v", [], "mvtec")} == {"unused"}


@pytest.mark.parametrize(
    "folder", ["bad/Masks", "good/gt", "bad/1/ground-truth", "masks", "ground_truth/bad"]
)
def test_masks_among_the_test_images_are_refused(tmp_path, folder):
    touch(tmp_path, "b/train/0.png", "b/test/good/0.png", "b/test/bad/0.png")
    touch(tmp_path, f"b/test/{folder}/1.png")
    words = (
        "named like a folder of masks, but lies among the test images: move it to .*, or rename it"
    )
    with pytest.raises(DataError, match=words):
        list_samples(tmp_path, "b", "folder")


def test_a_kind_of_defect_may_be_called_mask(tmp_path):
    touch(tmp_path, "b/train/0.png", "b/test/mask/0.png", "b/ground_truth/mask/0.png")
    assert listed(tmp_path, "b", "folder")[-1][2:] == ("mask", ["b/ground_truth/mask/0.png"])


def test_folders_of_good_images_may_be_nested(tmp_path):
    touch(tmp_path, "w/train/0.png", "w/train/tuesday/0.png", "w/train/monday/good/line 1/0.png")
    assert len(listed(tmp_path, "w", "folder")) == 3


def test_accents_are_one_name_in_both_spellings(tmp_path):
    name = "Prüfling é"
    composed, apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    touch(tmp_path, "ü/train/good/0.png", f"ü/test/Kratzer/{composed}.png")
    touch(tmp_path, f"ü/ground_truth/Kratzer/{apart}_mask.png")
    (sample,) = [s for s in list_samples(tmp_path, "ü", "mvtec") if s.split == "test"]
    assert len(sample.masks) == 1


def test_images_that_share_a_name_and_a_mask_are_refused(tmp_path):
    touch(tmp_path, "part/train/good/0.png", "part/test/dent/1.png", "part/test/dent/1.bmp")
    # Without masks, their names do not matter.
    assert len(list_samples(tmp_path, "part", "folder")) == 3
    touch(tmp_path, "part/ground_truth/dent/1_mask.png")
    for layout in ("folder", "mvtec"):
        with pytest.raises(
            DataError, match=r"1\.bmp and .*1\.png have one name.* whose mask .*1_mask"
        ):
            list_samples(tmp_path, "part", layout)


def test_masks_are_found_by_name(tmp_path):
    masks = [
        "0_mask.png",
        "0_mask1.png",
        "0_mask_2.png",
        "0-Mask (3).PNG",
        "0.bmp",
        "0_MASK_crack.png",
        "0_Maske.png",
    ]
    other = ["10_mask.png", "0_mask1_mask.png", "1_x.png"]
    touch(tmp_path, "b/train/good/0.png", "b/test/bad/0.png", "b/test/bad/0_mask1.png")
    touch(tmp_path, *(f"b/Ground_Truth/Bad/{name}" for name in (*masks, *other)))
    found = {Path(path).stem: masks for path, split, _, masks in listed(tmp_path, "b", "mvtec")}
    names = {image: {Path(mask).name for mask in masks} for image, masks in found.items()}
    assert names["0"] == set(masks) - {
        "0_mask1.png"
    }  # which is the other image's, by its whole name
    assert names["0_mask1"] == {"0_mask1.png", "0_mask1_mask.png"}


def test_names_that_differ_in_case_alone_are_kept_apart(tmp_path):
    touch(tmp_path, "b/train/good/0.png", "b/test/bad/a.png", "b/test/bad/A.png")
    touch(tmp_path, "b/ground_truth/bad/A_mask.png", "b/ground_truth/BAD/a_mask.png")
    found = {Path(path).stem: masks for path, split, _, masks in listed(tmp_path, "b", "mvtec")}
    assert found["A"] == ["b/ground_truth/bad/A_mask.png"]
    assert found["a"] == []


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir",
        "$RECYCLE.BIN",
        "#recycle",
        ".ipynb_checkpoints",
        "__MACOSX",
        "System Volume Information",
    ],
)
@pytest.mark.parametrize("layout", ["mvtec", "folder"])
def test_folders_of_systems_hold_no_samples(tmp_path, folder, layout):
    touch(tmp_path, "b/train/good/0.png", "b/test/good/0.png", "b/test/cut/0.png")
    expected = listed(tmp_path, "b", layout)
    for place in ("b", "b/train", "b/train/good", "b/test", "b/test/cut", "b/ground_truth"):
        touch(tmp_path, f"{place}/{folder}/0.png", f"{place}/{folder}/1.png.d/THUMB.jpg")
    assert listed(tmp_path, "b", layout) == expected


def test_thumbnails_of_images_are_no_samples(tmp_path):
    touch(tmp_path, "b/train/0.png", "b/train/0_thumb.jpg", "b/train/thumbnail-0.JPG")
    touch(tmp_path, "b/train/thumb_9.png", "b/train/Thumbs.db")
    assert [Path(path).name for path, *_ in listed(tmp_path, "b", "folder")] == [
        "0.png",
        "thumb_9.png",
    ]


def test_links_to_missing_images_are_listed(tmp_path):
    touch(tmp_path, "b/train/good/0.png", "b/train/good/1.png")
    (tmp_path / "b/train/good/2.png").symlink_to(tmp_path / "gone.png")
    assert len(list_samples(tmp_path, "b")) == 3


def test_validation_folders_have_three_names_and_hold_good_images(tmp_path):
    touch(tmp_path, "b/train/0.png", "b/val/good/1.png", "b/Validation/2.png", "b/valid/3.png")
    splits = [split for _, split, *_ in listed(tmp_path, "b", "folder")]
    assert splits == ["train", *["validation"] * 3]
    touch(tmp_path, "b/val/scratch/4.png")
    with pytest.raises(DataError, match="scratch lies beside a folder of good images"):
        list_samples(tmp_path, "b", "folder")


def test_a_category_is_found_in_both_spellings_of_its_accents(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Stück") for form in ("NFC", "NFD"))
    touch(tmp_path, f"{apart}/train/good/0.png")
    assert len(list_samples(tmp_path, composed)) == 1


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "far/0.png", "far/in/1.png", "far/.hidden/2.png", "w/train/here/3.png")
    train = tmp_path / "w/train"
    for name, target in (
        ("far", tmp_path / "far"),
        ("again", tmp_path / "far/in"),
        ("here/up", train),
        ("here/self", train / "here/self"),
        ("here/below", train / "here/3.png/x"),
        ("here/gone", tmp_path / "gone"),
        ("4.png", tmp_path / "far/0.png"),
    ):
        (train / name).symlink_to(target)
    (tmp_path / "far/back").symlink_to(tmp_path / "w")  # a circle over two folders
    assert [name for name, *_ in listed(tmp_path, "w", "folder")] == [
        *("w/train/4.png", "w/train/again/1.png"),
        *("w/train/far/0.png", "w/train/far/in/1.png", "w/train/here/3.png"),
    ]


@pytest.mark.parametrize(
    ("layout", "closed"),
    [
        ("mvtec", "w/train/good"),
        ("mvtec", "w/test"),
        ("mvtec", "w/ground_truth/cut"),
        ("folder", "w/train"),
        ("folder", "w/train/good"),
        ("folder", "w/test/cut"),
    ],
)
def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch, layout, closed):
    touch(tmp_path, "w/train/good/0.png", "w/train/1.png", "w/test/cut/0.png")
    touch(tmp_path, "w/ground_truth/cut/0_mask.png")
    scandir = os.scandir

    def refuse(path):
        if Path(path) == tmp_path / closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    assert len(list_samples(tmp_path, "w", layout)) > 1
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=rf"{closed} cannot be read \(Permission denied\): give"):
        list_samples(tmp_path, "w", layout)


def test_a_root_that_cannot_be_entered_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "w/train/good/0.png")
    is_dir = Path.is_dir

    def refuse(path):
        if path == tmp_path / "w":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=r"w cannot be read \(Permission denied\)"):
        list_samples(tmp_path, "w")


@pytest.mark.parametrize("category", ["", ".", "..", "a/b", "../a"])
def test_a_category_is_one_folder(tmp_path, category):
    touch(tmp_path, "a/b/train/good/0.png")
    with pytest.raises(DataError, match="is not the name of a folder"):
        list_samples(tmp_path / "a", category)


def test_missing_and_unknown(tmp_path):
    touch(tmp_path, "a/test/good/0.png")
    with pytest.raises(ConfigError, match="layout is 'coco'; give one of mvtec"):
        list_samples(tmp_path, "a", "coco")
    with pytest.raises(DataError, match=r"where layout 'btad' has them: .* --layout [(]mvtec, mv"):
        list_trainable(tmp_path, "a", "btad")
    with pytest.raises(DataError, match=r"1cls\.csv does not exist"):
        list_samples(tmp_path, "a", "visa")
