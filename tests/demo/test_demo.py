import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from padseg.demo import DEMO_CATEGORIES, DEMO_TEACHER, make_demo
from padseg.demo.paint import SIZE
from padseg.errors import ConfigError, DataError
from padseg.models.teacher import Normalize

TEACHER_SHA256 = "f2113a665df802752ac00819363d766f5d28645c90e4857760b223054dd7031f"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("demo") / "set")


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("category", DEMO_CATEGORIES)
def test_layout_is_complete(root: Path, category: str) -> None:
    folder = root / category
    assert len(list((folder / "train" / "good").glob("*.png"))) >= 40
    assert len(list((folder / "test" / "good").glob("*.png"))) == 10
    defects = {path.name for path in (folder / "test").iterdir()} - {"good"}
    assert len(defects) >= 4
    assert {path.name for path in (folder / "ground_truth").iterdir()} == defects
    for defect in defects:
        images = {path.stem for path in (folder / "test" / defect).iterdir()}
        masks = {path.stem for path in (folder / "ground_truth" / defect).iterdir()}
        assert masks == {f"{stem}_mask" for stem in images}


@pytest.mark.parametrize("category", DEMO_CATEGORIES)
def test_masks_are_binary_and_mark_part_of_the_picture(root: Path, category: str) -> None:
    for path in (root / category / "ground_truth").rglob("*.png"):
        mask = np.asarray(Image.open(path))
        assert mask.shape == (SIZE, SIZE)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}
        assert 0.002 < (mask > 0).mean() < 0.25, path


def test_every_image_is_rgb_of_one_size(root: Path) -> None:
    paths = [p for p in root.rglob("*.png") if "ground_truth" not in p.parts]
    assert {(image.mode, image.size) for image in map(Image.open, paths)} == {("RGB", (SIZE, SIZE))}
    assert 60 <= len(list((root / "textures").rglob("*.png"))) <= 100


def test_no_picture_occurs_twice(root: Path) -> None:
    pictures = {k: v for k, v in digests(root).items() if "ground_truth" not in k}
    assert len(set(pictures.values())) == len(pictures)


@pytest.mark.slow
def test_one_seed_gives_one_set(root: Path, tmp_path: Path) -> None:
    again = make_demo(tmp_path / "again", categories=DEMO_CATEGORIES[:1])
    kept = digests(again / DEMO_CATEGORIES[0])
    assert kept == digests(root / DEMO_CATEGORIES[0])
    assert digests(again / "textures") == digests(root / "textures")
    other = make_demo(tmp_path / "other", seed=1, categories=DEMO_CATEGORIES[:1])
    assert not set(digests(other / DEMO_CATEGORIES[0] / "train").values()) & set(kept.values())


def test_a_complete_set_is_left_alone(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert make_demo(root) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert [path.name for path in root.parent.iterdir()] == [root.name]


def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padseg.demo.dataset._TRAIN", 1)
    folder = tmp_path / "empty"
    folder.mkdir()
    make_demo(folder, categories=DEMO_CATEGORIES[:1])
    assert json.loads((folder / "demo.json").read_text())["seed"] == 0


def test_a_foreign_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not this demo set"):
        make_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="not this demo set"):
        make_demo(tmp_path / "file")


def test_another_seed_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="not this demo set"):
        make_demo(root, seed=1)


def test_an_unknown_category_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="demo set is 'moon'; give one of"):
        make_demo(tmp_path / "set", categories=["moon"])
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_where_painting_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, seed: int) -> None:
        raise RuntimeError("out of paint")

    monkeypatch.setattr("padseg.demo.dataset._TRAIN", 1)
    monkeypatch.setattr("padseg.demo.dataset._paint_textures", fail)
    with pytest.raises(RuntimeError, match="out of paint"):
        make_demo(tmp_path / "set", categories=DEMO_CATEGORIES[:1])
    assert not list(tmp_path.iterdir())


def teacher() -> torch.nn.Module:
    model = timm.create_model("test_byobnet", features_only=True, out_indices=(1, 2, 3))
    model.load_state_dict(load_file(DEMO_TEACHER), strict=True)
    return model


def test_the_teacher_fits_the_architecture_and_is_the_measured_one() -> None:
    assert DEMO_TEACHER.stat().st_size < 2**20
    assert teacher().feature_info.channels() == [32, 64, 128]
    assert hashlib.sha256(DEMO_TEACHER.read_bytes()).hexdigest() == TEACHER_SHA256


def test_the_batch_norms_of_the_teacher_are_those_of_the_textures(root: Path) -> None:
    textures = np.stack([Image.open(path) for path in sorted((root / "textures").rglob("*.png"))])
    image = Normalize()(torch.from_numpy(textures).permute(0, 3, 1, 2) / 255)
    model, stored = teacher(), load_file(DEMO_TEACHER)
    for norm in (part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches, of which there is one
    with torch.no_grad():
        model.train()(image)
    computed = {k: v for k, v in model.state_dict().items() if k.endswith(("_mean", "_var"))}
    assert len(computed) == 20
    for name, value in computed.items():
        torch.testing.assert_close(stored[name].float(), value, rtol=5e-3, atol=2e-3)
