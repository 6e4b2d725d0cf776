import errno
import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from padseg.cli import main
from padseg.data import AnomalyDataModule, images
from padseg.data.check import check_category
from padseg.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)

    def save(name: str, mask: bool = False) -> None:
        path = tmp_path / "w" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray((pixels[..., 0] // 128) * 255 if mask else pixels).save(path)

    for number in range(4):
        save(f"train/good/{number}.png")
        save(f"test/good/{number}.png")
        save(f"test/cut/{number}.png")
        save(f"ground_truth/cut/{number}_mask.png", mask=True)
    return tmp_path


def found(root: Path, layout: str = "mvtec") -> list[tuple[str, str]]:
    return [(f.kind, f.file.name) for f in check_category(root, "w", layout)]


def setup(root: Path, stage: str, layout: str = "mvtec") -> None:
    options = {"synthesis": None, "image_size": 32, "val_fraction": 0, "layout": layout}
    AnomalyDataModule(str(root), "w", **options).setup(stage)


def test_a_sound_set_has_no_findings_and_is_decoded_once(root, capsys, monkeypatch):
    decode, decoded = images.decode, []
    monkeypatch.setattr(images, "decode", lambda *a: decoded.append(a[0]) or decode(*a))
    assert found(root) == []
    assert len(decoded) == len(set(decoded)) == 12
    assert main(["check", "--root", str(root), "--category", "w/"]) == 0  # as shells complete it
    assert [AnomalyDataModule(root, name).category for name in ("./w/", Path("w"))] == ["w", "w"]
    out = capsys.readouterr().out
    assert [int(cell) for cell in out.splitlines()[-1].split()[1:]] == [4, 0, 4, 4, 4, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_name_with_the_code_of_an_emoji_is_printed_as_it_is(root, capsys):
    (root / "w/train/good/a:smile:[b].png").write_bytes(b"")
    assert main(["check", "--root", str(root), "--category", "w"]) == 2
    assert "good/a:smile:[b].png" in capsys.readouterr().out


def test_dark_16_bit_images_are_no_duplicates(root, capsys):
    rng = np.random.default_rng(1)
    for path in (root / "w").glob("t*/*/*.png"):
        Image.fromarray(rng.integers(60, 200, (40, 48), dtype=np.uint16)).save(path)
    assert found(root) == []


def test_every_file_is_named(root, capsys):
    (root / "w/train/good/1.png").write_bytes(b"")
    (root / "w/train/good/2.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError) as error:
        setup(root, "fit")
    assert "2 files cannot be used" in str(error.value)
    assert "1.png is empty" in str(error.value)
    assert "2.png cannot be read" in str(error.value)
    assert main(["check", "--root", str(root), "--category", "w"]) == 2
    told = capsys.readouterr()
    assert "1 of 1 category cannot be used (w)" in told.err
    assert "1.png is empty" in told.out
    assert "2.png cannot be read" in told.out


def test_truncated_files_are_all_named(root):
    for number in (0, 3):
        path = root / f"w/train/good/{number}.png"
        path.write_bytes(path.read_bytes()[:900])
    assert found(root) == [("unreadable", "0.png"), ("unreadable", "3.png")]
    with pytest.raises(DataError, match=r"(?s)2 files.*0\.png cannot be read.*3\.png cannot"):
        setup(root, "fit")


@pytest.mark.parametrize("reencoded", [False, True])
def test_test_images_that_are_trained_on(root, reencoded):
    source, copy = root / "w/train/good/2.png", root / "w/test/good/3.png"
    if reencoded:
        Image.open(source).save(copy, compress_level=0)
    else:
        copy.write_bytes(source.read_bytes())
    assert found(root) == [("two parts", "3.png")]
    if not reencoded:  # training compares bytes, so that it starts at once
        for stage in ("fit", "test"):
            with pytest.raises(
                DataError, match=r"test.good.3\.png is the same image as .*train.good.2\.png"
            ):
                setup(root, stage)


def test_copies_on_one_side_are_only_noted(root):
    (root / "w/train/good/9.png").write_bytes((root / "w/train/good/0.png").read_bytes())
    assert found(root) == [("duplicate", "9.png")]
    setup(root, "fit")


def test_missing_masks(root):
    for number in (1, 2):
        (root / f"w/ground_truth/cut/{number}_mask.png").unlink()
    for layout in ("mvtec", "folder"):
        assert found(root, layout) == [("missing mask", "1.png"), ("missing mask", "2.png")]
        with pytest.raises(DataError, match=r"(?s)1\.png shows a defect.*2\.png shows"):
            setup(root, "test", layout)
    shutil.rmtree(root / "w/ground_truth")
    setup(root, "predict")
    (root / "w/test/cut/0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        setup(root, "predict")
    shutil.rmtree(root / "w/test")
    with pytest.raises(DataError, match="has no test images to score"):
        setup(root, "predict")


def test_no_masks_at_all_is_for_folders_alone(root):
    for path in (root / "w/ground_truth/cut").iterdir():
        path.unlink()
    assert found(root, "folder") == [("no masks", "cut")]
    setup(root, "test", "folder")
    with pytest.raises(
        DataError,
        match=r"there is no mask for 4 images with defects in .*w/test/cut: restore them, or pass",
    ):
        setup(root, "test")
    dent = root / "w/test/dent"
    dent.mkdir()
    next((root / "w/test/cut").iterdir()).rename(dent / "0.png")
    assert found(root, "folder") == [("no masks", "test")]


def test_wrong_masks(root):
    masks = root / "w/ground_truth/cut"
    Image.new("L", (40, 48), 255).save(masks / "0_mask.png")
    Image.new("L", (48, 40)).save(masks / "1_mask.png")
    (masks / "2_mask.png").write_bytes(b"no image")
    Image.new("L", (48, 40)).save(masks / "9_mask.png")
    assert found(root) == [
        *(("mask size", "0_mask.png"), ("empty mask", "1_mask.png"), ("unreadable", "2_mask.png")),
        ("orphan mask", "9_mask.png"),
    ]
    with pytest.raises(DataError, match=r"0_mask.png has 40x48 pixels, its image .* 48x40"):
        setup(root, "test")


@pytest.mark.parametrize("folder", ["train/good", "test/good", "test/cut"])
def test_masks_and_copies_among_the_images_are_told(folder, root, caplog):
    images = root / "w" / folder
    shutil.copy(images / "0.png", images / "_mask.png")
    mask = Image.open(root / "w/ground_truth/cut/3_mask.png")
    mask.save(images / "1.bmp")
    shutil.rmtree(root / "w/ground_truth")
    stage = "fit" if folder == "train/good" else "test"
    setup(root, stage, "folder")
    assert f"{images / '1.png'} has the name of {images / '1.bmp'}: if it is a mask" in caplog.text
    (images / "1.bmp").rename(images / "2_Mask-1.bmp")
    assert ("mask as image", "2_Mask-1.bmp") in found(root)
    with pytest.raises(DataError, match=r"2_Mask-1\.bmp lies among .* mask of .*2\.png: move it"):
        setup(root, stage, "folder")


def test_images_without_a_use_are_told(root):
    image = Image.new("RGB", (48, 40))
    for name in ("val/good/0.png", "val/good/1.png", "train/good/7.gif", "masks/0.png"):
        (root / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / "w" / name)
    for name in ("license.txt", "train/good/Thumbs.db", "train/good/.9.png"):
        (root / "w" / name).write_bytes(b"no image")
    findings = check_category(root, "w")
    assert not any(finding.blocks for finding in findings)
    assert {(f.kind, f.file.relative_to(root / "w").as_posix()) for f in findings} == {
        ("unused", "val/good"),
        ("unused", "train/good"),
        ("unused", "masks"),
    }
    told = {finding.file.parent.name: finding.message for finding in findings}
    assert "not used (2, such as 0.png): move them to where layout 'mvtec'" in told["val"]
    assert "not used (1, such as 7.gif): padseg reads .bmp, .jpeg" in told["train"]


def test_masks_of_good_images_are_no_finding(root):
    (root / "w/ground_truth/good").mkdir()
    Image.new("L", (48, 40)).save(root / "w/ground_truth/good/0_mask.png")
    assert found(root) == []


def test_labels_of_kolektorsdd_are_no_finding(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(5):
        item = tmp_path / f"w/kos{number}"
        item.mkdir(parents=True)
        for part in (0, 1):
            pixels = rng.integers(0, 256, (40, 48), dtype=np.uint8)
            Image.fromarray(pixels).save(item / f"Part{part}.jpg")
            Image.fromarray((pixels > 200) * np.uint8(255 * part)).save(
                item / f"Part{part}_label.bmp"
            )
    assert found(tmp_path, "kolektorsdd") == []


def test_a_closed_folder_hides_no_other_category(root, capsys, monkeypatch):
    (root / "w/raw").mkdir()
    scan = os.scandir

    def closed(folder):
        if Path(folder).name == "raw":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", closed)
    assert main(["check", "--root", str(root), "--category", "w"]) == 0
    assert "raw cannot be read (Permission denied)" in capsys.readouterr().out


def test_masks_of_several_greys_are_told(root):
    masks = root / "w/ground_truth/cut"
    grey = np.zeros((40, 48), np.uint8)
    grey[5:9, 5:9], grey[20:30, 20:30] = 85, 255
    Image.fromarray(grey).save(masks / "2_mask.png")  # two kinds, both of them defects
    noise = np.random.default_rng(0).integers(0, 9, grey.shape, dtype=np.uint8)
    Image.fromarray(np.where(grey > 0, grey - noise, 0)).save(masks / "0_mask.png")
    soft = cv2.GaussianBlur(grey * (grey == 255), (5, 5), 0)
    Image.fromarray(soft).save(masks / "1_mask.png")
    assert found(root) == [("grey mask", "0_mask.png")]
    setup(root, "test")


def test_masks_of_a_white_background_are_told(root, caplog):
    path = root / "w/ground_truth/cut/0_mask.png"
    inverted = np.full((40, 48), 255, np.uint8)
    inverted[5:9, 5:9] = 0
    Image.fromarray(inverted).save(path)
    assert found(root) == [("large mask", "0_mask.png")]
    palette = Image.fromarray((inverted == 0).astype(np.uint8), mode="L").convert("P")
    palette.putpalette([255, 255, 255, 200, 0, 0])
    palette.save(path)
    assert found(root) == [("large mask", "0_mask.png")]
    setup(root, "test")
    assert "0_mask.png marks 100% of its image" in caplog.text


@pytest.mark.parametrize("palette", [False, True])
def test_inverted_masks_are_refused(palette, root, capsys):
    inverted = np.full((40, 48), 255, np.uint8)
    inverted[5:19, 5:19] = 0
    mask = Image.fromarray(inverted)
    if palette:
        mask = Image.fromarray((inverted == 0).astype(np.uint8), mode="L").convert("P")
        mask.putpalette([255, 255, 255, 200, 0, 0])
    for number in range(4):
        mask.save(root / f"w/ground_truth/cut/{number}_mask.png")
    assert found(root) == [("inverted masks", "0_mask.png")]
    told = (
        r"all 4 masks mark the background as the defect, such as .*0_mask\.png: make the background"
    )
    with pytest.raises(DataError, match=told):
        setup(root, "test")
    assert main(["check", "--root", str(root), "--category", "w"]) == 2
    said = capsys.readouterr()
    assert "error: all 4 masks mark the background" in said.out
    assert "1 of 1 category cannot be used" in said.err


@pytest.mark.parametrize("value", ["whole", "inner"])
def test_large_defects_are_no_inverted_masks(value, root):
    mask = np.full((40, 48), 255, np.uint8)
    if value == "inner":
        mask[:4], mask[-4:] = 0, 0
    for number in range(4):
        Image.fromarray(mask).save(root / f"w/ground_truth/cut/{number}_mask.png")
    assert {kind for kind, _ in found(root)} == {"large mask"}
    setup(root, "test")


def test_lost_defects_are_told_where_figures_are_made(root, caplog, capsys):
    mask = np.zeros((40, 48), np.uint8)
    mask[10, 10] = 255
    for number in range(3):
        Image.fromarray(mask).save(root / f"w/ground_truth/cut/{number}_mask.png")
    assert found(root) == []  # 256 pixels enlarge them
    assert main(["check", "--root", str(root), "--category", "w", "--image-size", "32"]) == 0
    told = capsys.readouterr().out
    assert "and 3 of 4 masks with them, so that" in told
    assert "raise --image-size, which is --model.image_size of a training" in told
    options = {"synthesis": None, "image_size": 32, "val_fraction": 0}
    setup(root, "predict")
    assert not caplog.text
    for _ in range(2):
        setup(root, "test")
    assert caplog.text.count("3 of 4 masks with them") == 1
    assert "count their pixels as normal: raise --model.image_size, or" in caplog.text
    caplog.clear()
    AnomalyDataModule(str(root), "w", **options, evaluation="native").setup("test")
    assert not caplog.text


def test_links_that_lead_nowhere_are_told(root):
    (root / "w/test/scratch").symlink_to(root / "gone")
    assert found(root) == [("lost link", "scratch")]
    (root / "w/train/good/9.png").symlink_to(root / "gone.png")
    with pytest.raises(DataError, match=r"9\.png is a link to .*gone\.png, which does not exist"):
        setup(root, "fit")


@pytest.mark.parametrize("name", ["4.tif", "4.png", "4.webp"])
def test_files_of_several_pages_are_told(root, name, caplog):
    rng = np.random.default_rng(1)
    pages = [Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)) for _ in range(3)]
    options = {"lossless": True} if name.endswith("webp") else {}
    pages[0].save(root / "w/train/good" / name, save_all=True, append_images=pages[1:], **options)
    assert found(root) == [("several pages", name)]
    setup(root, "fit")
    assert f"{name} has 3 pages or frames, of which only the first is used" in caplog.text
    mask = [Image.fromarray(np.asarray(page)[..., 0] // 200 * np.uint8(255)) for page in pages]
    mask[0].save(root / "w/ground_truth/cut/0_mask.tif", save_all=True, append_images=mask[1:])
    (root / "w/ground_truth/cut/0_mask.png").unlink()
    with pytest.raises(DataError, match=r"0_mask\.tif has 3 pages, of which only the first would"):
        setup(root, "test")


def test_a_thumbnail_in_a_tiff_is_no_page(root):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    small = image.resize((12, 10))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    image.save(root / "w/train/good/4.tif", save_all=True, append_images=[small])
    assert Image.open(root / "w/train/good/4.tif").n_frames == 2
    assert found(root) == []


@pytest.mark.parametrize("layout", ["mvtec", "mvtec_loco"])
def test_figures_of_mvtec_loco_are_told_not_to_be_its_metric(root, layout, caplog):
    if layout == "mvtec":
        (root / "w/defects_config.json").write_text("[]")
    assert found(root, layout) == [("other metric", "w")]
    setup(root, "test", layout)
    assert "are not the metric of MVTec LOCO, which is sPRO" in caplog.text


def test_a_folder_whose_accents_are_encoded_otherwise_is_checked_as_well(root):
    composed, apart = (unicodedata.normalize(form, "Stück") for form in ("NFC", "NFD"))
    (root / "w").rename(root / apart)
    kinds = [{"pixel_value": 255, "saturation_threshold": 1, "relative_saturation": True}]
    (root / apart / "defects_config.json").write_text(json.dumps(kinds))
    shutil.copy(root / apart / "test/cut/0.png", root / apart)
    kinds_found = [finding.kind for finding in check_category(root, composed)]
    assert kinds_found == ["other metric", "unused"]
    data = AnomalyDataModule(str(root), composed, synthesis=None, image_size=32)
    assert data.check_test().saturations is not None


def test_masks_that_the_configuration_of_mvtec_loco_lacks_are_all_named(root, capsys):
    config = root / "w/defects_config.json"
    kinds = [{"pixel_value": 200, "saturation_threshold": 1.0, "relative_saturation": True}]
    config.write_text(json.dumps(kinds))
    mask = root / "w/ground_truth/cut/0_mask.png"
    Image.fromarray((np.array(Image.open(mask)) > 0) * np.uint8(200)).save(mask)
    (root / "w/ground_truth/cut/3_mask.png").write_bytes(b"")
    wrong = [
        ("unreadable", "3_mask.png"),
        ("mask value", "1_mask.png"),
        ("mask value", "2_mask.png"),
    ]
    assert found(root, "mvtec_loco") == [*wrong, ("other metric", "w")]
    Image.fromarray(np.array(Image.open(mask))).save(root / "w/ground_truth/cut/3_mask.png")
    with pytest.raises(
        DataError, match=r"(?s)2 files.*1_mask\.png has.*2_mask\.png has the values"
    ):
        setup(root, "test", "mvtec_loco")

    config.write_text("{")
    assert main(["check", "--root", str(root), "--category", "w", "--layout", "mvtec_loco"]) == 2
    told = capsys.readouterr()
    assert "error: " in told.out
    assert "defects_config.json is broken" in told.out
    assert "1 of 1 category cannot be used (w)" in told.err


def test_left_out_copies_are_told(root):
    (root / "w/test/@eaDir/0.png").mkdir(parents=True)
    Image.new("RGB", (48, 40)).save(root / "w/test/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg")
    assert found(root) == [("left out", "@eaDir")]


def test_private_test_images_are_meant_to_lie_there(root):
    (root / "w/test").rename(root / "w/test_public")
    (root / "w/test_public/cut").rename(root / "w/test_public/bad")
    (root / "w/ground_truth").rename(root / "w/test_public/ground_truth")
    (root / "w/test_public/ground_truth/cut").rename(root / "w/test_public/ground_truth/bad")
    (root / "w/test_private").mkdir()
    Image.new("RGB", (48, 40)).save(root / "w/test_private/000.png")
    assert found(root, "mvtec_ad_2") == []


def test_incomplete_test_sets(root):
    for path in (root / "w/test/good").iterdir():
        path.unlink()
    assert found(root) == [("one-sided test", "w")]
    for path in (root / "w/test/cut").iterdir():
        path.unlink()
    assert ("no test images", "w") in found(root)
    with pytest.raises(DataError, match="w holds no test images"):
        setup(root, "test")


def test_validation_images_are_held_out(root):
    (root / "w/validation/good").mkdir(parents=True)
    for number in (0, 1):
        name = f"{number}.png"
        (root / "w/train/good" / name).rename(root / "w/validation/good" / name)
    data = AnomalyDataModule(str(root), "w", synthesis=None, image_size=32, layout="mvtec_loco")
    data.setup("fit")
    assert len(data._train.images) == 2
    assert [Path(path).parts[-3] for path in data._held_out.paths] == ["validation"] * 2


def test_validation_images_that_are_trained_on(root):
    (root / "w/validation/good").mkdir(parents=True)
    for name in ("0.png", "1.png"):
        shutil.copy(root / "w/train/good" / name, root / "w/validation/good" / name)
    (root / "w/train/good/1.png").unlink()
    assert ("two parts", "0.png") in found(root, "mvtec_loco")
    assert ("two parts", "1.png") not in found(root, "mvtec_loco")
    with pytest.raises(
        DataError, match=r"validation.good.0\.png is the same image as .*, which is trained"
    ):
        setup(root, "fit", "mvtec_loco")


def test_a_category_that_cannot_be_listed_hides_no_other(root, capsys):
    assert (
        main(["check", "--root", str(root), "--category", "none", "w", "--layout", "kolektorsdd"])
        == 2
    )
    told = capsys.readouterr()
    assert "2 of 2 categories cannot be used (none, w)" in told.err
    assert "category 'none' does not exist" in told.out
    assert "in kos01 and so on, where layout 'kolektorsdd' has them" in told.out


def test_names_in_brackets_are_shown(root, capsys):
    (root / "w").rename(root / "w [red]")
    assert main(["check", "--root", str(root), "--category", "w [red]"]) == 0
    assert "\nw [red] " in capsys.readouterr().out


def test_pixels_that_fill_few_of_their_bits_are_told(root):
    twelve = np.linspace(0, 4095, 40 * 48).reshape(40, 48).astype(np.uint16)
    Image.fromarray(twelve).save(root / "w/train/good/0.png")
    Image.fromarray(twelve * 16).save(root / "w/train/good/1.png")
    (finding,) = check_category(root, "w")
    assert (finding.kind, finding.file.name) == ("dark", "0.png")
    assert "its brightest value is 15 of 255" in finding.message
    assert not finding.blocks
