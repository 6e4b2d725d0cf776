import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from conftest import save
from padseg.data import AnomalyDataModule
from padseg.errors import ConfigError, DataError
from padseg.synthesis import SynthesisParams
from tiny import tiny_data


def module(root: Path, textures: Path | None, **options) -> AnomalyDataModule:
    options = {"image_size": 64, "batch_size": 4, "augmentation": "full", **options}
    return AnomalyDataModule(str(root), "widget", str(textures) if textures else None, **options)


def test_pairs_have_the_promised_form(data_root, textures):
    pairs = module(data_root, textures).pairs(0, 6)
    assert set(pairs) == {"clean", "corrupted", "mask", "texture", "index", "number"}
    assert pairs["number"].tolist() == [*range(6)]
    for name in ("clean", "corrupted", "texture"):
        assert pairs[name].shape == (6, 3, 64, 64)
        assert pairs[name].dtype == torch.float32
        assert 0 <= pairs[name].min() <= pairs[name].max() <= 1
    assert pairs["mask"].shape == (6, 1, 64, 64)
    assert set(pairs["mask"].unique().tolist()) == {0.0, 1.0}
    outside = (pairs["mask"] == 0).expand_as(pairs["clean"])
    assert torch.equal(pairs["clean"][outside], pairs["corrupted"][outside])
    assert not torch.equal(pairs["clean"], pairs["corrupted"])


def test_held_out_images_are_not_trained_on(data_root, textures):
    data = module(data_root, textures, val_fraction=0.25, augmentation="none")
    data.setup("fit")
    held_out = {item["path"] for item in (data._held_out[i] for i in range(3))}
    assert len(held_out) == 3
    trained = {image.numpy().tobytes() for image in data.pairs(0, 9)["clean"]}
    assert len(trained) == 9
    kept = data._held_out.images[0].transpose(2, 0, 1) / np.float32(255)
    assert kept.astype(np.float32).tobytes() not in trained


def test_half_of_the_held_out_images_carry_fixed_defects(data_root, textures):
    params = SynthesisParams(retries=10)
    data = module(data_root, textures, val_fraction=0.5, synthesis=params)
    data.setup("validate")
    items = [data._held_out[i] for i in range(6)]
    assert [item["label"] for item in items] == [False, True] * 3
    again = module(data_root, textures, val_fraction=0.5, synthesis=params, seed=9)
    again.setup("validate")
    assert all(
        torch.equal(data._held_out[i]["image"], again._held_out[i]["image"]) for i in range(6)
    )


def test_test_batches(data_root):
    data = module(data_root, None)
    data.setup("test")
    batch = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
    assert batch["image"].shape == (4, 3, 64, 64)
    assert batch["image"].max() <= 1
    assert batch["mask"].shape == batch["regions"].shape == (4, 1, 64, 64)
    assert batch["label"].tolist() == [False, False, False, True]
    assert batch["regions"][3].max() == 1
    assert torch.equal(batch["regions"] > 0, batch["mask"] > 0)
    assert Path(batch["path"][3]).name == "000.png"


def test_non_square_images(data_root, textures):
    pairs = module(data_root, textures, image_size=(64, 96)).pairs(0, 3)
    assert pairs["clean"].shape == (3, 3, 64, 96)
    assert pairs["mask"].shape == (3, 1, 64, 96)


def test_16_bit_textures_are_read_by_the_bits_they_use(data_root, tmp_path):
    texture = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(texture).save(tmp_path / "twelve.png")
    pairs = module(data_root, tmp_path).pairs(0, 4)
    assert pairs["texture"].max() == 1


def test_noise_backend_and_jitter(data_root, textures):
    params = SynthesisParams(backend="noise", octaves=2, retries=20)
    data = module(data_root, textures, synthesis=params, jitter_textures=True)
    pairs = data.pairs(0, 4)
    assert pairs["mask"].sum() > 0
    assert torch.equal(pairs["corrupted"], data.pairs(0, 4)["corrupted"])
    assert set(module(data_root, None, synthesis=None).pairs(0, 2)) == {"clean", "index", "number"}


@pytest.fixture
def broken(data_root, tmp_path) -> Path:
    shutil.copytree(data_root, tmp_path / "data")
    return tmp_path / "data"


def test_missing_root_category_and_images(broken, textures):
    with pytest.raises(DataError, match="nowhere does not exist"):
        module(broken / "nowhere", textures).setup("fit")
    with pytest.raises(DataError, match=r"category 'bolt' does not exist in .* which has widget"):
        AnomalyDataModule(str(broken), "bolt", str(textures)).setup("fit")
    with pytest.raises(DataError, match=rf"the category itself, pass {re.escape(str(broken))}\.$"):
        AnomalyDataModule(str(broken / "widget"), "widget", str(textures)).setup("fit")
    shutil.rmtree(broken / "widget/train")
    with pytest.raises(DataError, match="holds no normal training images"):
        module(broken, textures).setup("fit")


def test_missing_textures(broken, tmp_path):
    with pytest.raises(DataError, match=r"--data\.textures"):
        module(broken, None).setup("fit")
    with pytest.raises(DataError, match="nothing does not exist"):
        module(broken, tmp_path / "nothing").setup("fit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        module(broken, tmp_path / "empty").setup("fit")


@pytest.mark.parametrize(("content", "told"), [(b"", "empty"), (b"\x89PNG no", "cannot be read")])
def test_broken_image_is_named(broken, textures, content, told):
    image = broken / "widget/train/good/003.png"
    image.write_bytes(content)
    with pytest.raises(DataError, match=rf"003\.png .*{told}"):
        module(broken, textures).setup("fit")
    image = broken / "widget/test/good/001.png"
    image.write_bytes(content)
    with pytest.raises(DataError, match=rf"001\.png .*{told}"):
        module(broken, textures).setup("test")


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 8},
        {"batch_size": 0},
        {"val_fraction": 1.0},
        {"seed": -1},
        {"num_workers": -1},
        {"cache_limit_mb": -5.0},
        {"cache_limit_mb": float("nan")},
        {"augmentation": "Full"},
        {"synthesis": {"backend": "mixed"}},
    ],
)
def test_bad_options(data_root, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        tiny_data(data_root, **options)


def test_what_is_decoded_needs_no_folder_any_more(data_root, tmp_path):
    shutil.copytree(data_root / "widget", tmp_path / "data/widget")
    data = tiny_data(tmp_path / "data")
    data.setup("fit")
    shutil.rmtree(tmp_path / "data")
    data.setup("validate")
    assert data.calibration_dataloader() is not None


def test_options_that_are_changed_after_the_setup_are_refused(data_root, textures):
    data = tiny_data(data_root, textures)
    data.val_fraction = 0.25
    data.setup("fit")
    assert data.trained_images.count == 9  # of 12
    train = data._train
    data.batch_size = 3  # as Lightning's BatchSizeFinder does
    data.setup("fit")
    assert data._train is train
    for name, value in {"seed": 5, "category": "cap", "image_size": 32, "textures": "x"}.items():
        before = getattr(data, name)
        setattr(data, name, value)
        with pytest.raises(ConfigError, match=f"data.{name} was changed after the data had been"):
            data.setup("fit")
        setattr(data, name, before)
    data.setup("validate")


def test_a_test_after_a_prediction_has_its_masks(data_root):
    data = tiny_data(data_root)
    data.setup("predict")
    data.setup("test")
    loaders = (data.predict_dataloader(), data.test_dataloader())
    predicted, tested = (default_collate([*loader.dataset]) for loader in loaders)
    assert predicted["path"] == tested["path"]
    assert not predicted["mask"].any()
    assert tested["mask"].any()


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_loaders_need_the_data_to_be_set_up(data_root, textures, stage):
    with pytest.raises(ConfigError, match=r"the data is not set up: call its setup\(\)"):
        getattr(module(data_root, textures), f"{stage}_dataloader")()


def test_the_example_input_of_a_module_is_no_batch(data_root, textures):
    example = torch.rand(1, 3, 64, 64)
    assert tiny_data(data_root, textures).on_after_batch_transfer(example, 0) is example


@pytest.mark.parametrize(
    ("layout", "tested"),
    [
        ("mvtec", "widget/test/good/0.png"),
        ("mvtec_loco", "widget/test/good/0.png"),
        ("mvtec_ad_2", "widget/test_public/good/0.png"),
        ("btad", "widget/test/ok/0.png"),
        ("kolektorsdd", "widget/kos04/0.png"),
        ("visa", "widget/0.png"),
        ("folder", "widget/0.png"),
        ("folder", "widget/test/good/0.png"),
    ],
)
def test_only_a_training_needs_training_images(tmp_path, textures, layout, tested):
    save(tmp_path / tested, np.full((64, 64), 200, np.uint8))
    if layout == "kolektorsdd":
        for item in ("kos00", "kos01", "kos02", "kos03"):
            (tmp_path / "widget" / item).mkdir()
        save(tmp_path / "widget/kos04/0_label.bmp", np.zeros((64, 64), np.uint8))
    elif layout == "visa":
        (tmp_path / "split_csv").mkdir()
        rows = f"object,split,label,image,mask\nwidget,test,normal,{tested},"
        (tmp_path / "split_csv/1cls.csv").write_text(rows)
    elif tested == "widget/0.png":
        (tmp_path / "samples.csv").write_text(f"path,split,label\n{tested},test,good")
    data = tiny_data(tmp_path, textures, layout=layout)
    for stage in ("test", "predict"):
        data.setup(stage)
        (batch,) = getattr(data, f"{stage}_dataloader")()
        assert batch["path"] == [str(tmp_path / tested)]
    for stage in ("fit", "validate", None):
        with pytest.raises(DataError, match=f"no normal training images .* layout '{layout}'"):
            data.setup(stage)
