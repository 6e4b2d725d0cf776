import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from padseg.data import AnomalyDataModule
from padseg.data.foreground import otsu_foreground
from padseg.errors import ConfigError, DataError
from padseg.synthesis import SynthesisParams


def disc(dark: bool) -> tuple[np.ndarray, np.ndarray]:
    """A ring with a hole of the background's colour, off the centre, and where it lies."""
    rng = np.random.default_rng(0)
    shape = Image.new("L", (72, 72))
    ImageDraw.Draw(shape).ellipse((8, 14, 44, 50), fill=255)
    mask = np.asarray(shape) > 0
    ImageDraw.Draw(shape).ellipse((20, 26, 30, 36), fill=0)
    ring = np.asarray(shape) > 0
    base = np.where(ring, *((40, 210) if dark else (210, 40)))
    image = base[..., None] + rng.normal(0, 6, (72, 72, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask.astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("discs")
    for name in ("data", "masks"):
        (root / name / "disc/train/good").mkdir(parents=True)
    image, mask = disc(dark=True)
    for number in range(8):
        image[0, number] ^= 1  # copies of one image cannot be held out
        Image.fromarray(image).save(root / f"data/disc/train/good/{number}.png")
        Image.fromarray(mask * 255).save(root / f"masks/disc/train/good/{number}.bmp")
    return root


def module(root: Path, textures: Path, **options) -> AnomalyDataModule:
    options = {"image_size": 72, "batch_size": 4, "augmentation": "none", **options}
    return AnomalyDataModule(str(root / "data"), "disc", str(textures), **options)


@pytest.mark.parametrize("dark", [False, True])
def test_otsu_finds_the_object_and_fills_its_hole(dark):
    image, mask = disc(dark)
    found = otsu_foreground(image)
    assert found.dtype == np.uint8
    assert (found != mask).mean() < 0.002


@pytest.mark.parametrize("backend", ["perlin", "noise"])
@pytest.mark.parametrize("source", ["otsu", "masks"])
def test_defects_lie_on_the_object(root, textures, source, backend):
    synthesis = SynthesisParams(backend=backend)
    anywhere = module(root, textures, synthesis=synthesis).pairs(0, 10)
    given = str(root / "masks") if source == "masks" else source
    bound = module(root, textures, synthesis=synthesis, foreground=given).pairs(0, 10)
    inside = torch.from_numpy(otsu_foreground(disc(dark=True)[0])).float()
    if source == "masks":
        inside = torch.from_numpy(disc(dark=True)[1]).float()
    assert torch.equal(bound["mask"], anywhere["mask"] * inside)
    assert torch.equal(bound["texture"], anywhere["texture"])
    assert torch.equal(bound["clean"], anywhere["clean"])
    assert 0 < bound["mask"].sum() < anywhere["mask"].sum()


def test_the_object_turns_with_the_image(root, textures):
    free = module(root, textures, augmentation="full").pairs(0, 12)
    bound = module(root, textures, augmentation="full", foreground="otsu").pairs(0, 12)
    assert torch.equal(bound["clean"], free["clean"])
    for clean, mask in zip(bound["clean"], bound["mask"], strict=True):
        image = (clean * 255).round().byte().permute(1, 2, 0).numpy()
        image[image[..., 0] == 114] = 210  # the corners that turning uncovers
        near = torch.nn.functional.max_pool2d(
            torch.from_numpy(otsu_foreground(image)).float()[None], 3, 1, 1
        )
        assert not mask[near == 0].any()


def test_pairs_depend_on_seed_and_number_alone(root, textures):
    options = {
        "foreground": "otsu",
        "augmentation": "full",
        "synthesis": SynthesisParams(retries=3),
    }
    whole = module(root, textures, **options).pairs(0, 9)
    parts = [module(root, textures, **options).pairs(start, 3) for start in (6, 0, 3)]
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([parts[1][name], parts[2][name], parts[0][name]]))
    data = module(root, textures, num_workers=2, **options)
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert torch.equal(batch["mask"], module(root, textures, **options).pairs(0, 4)["mask"])


@pytest.mark.parametrize("backend", ["perlin", "noise"])
def test_a_defect_that_misses_the_object_leaves_the_sample_clean(tmp_path, root, textures, backend):
    shutil.copytree(root / "masks", tmp_path / "masks")
    for path in (tmp_path / "masks").rglob("*.bmp"):
        speck = np.zeros((72, 72), np.uint8)
        speck[30:34, 30:34] = 255
        Image.fromarray(speck).save(path)
    counts = []
    for retries in (0, 20):
        synthesis = SynthesisParams(backend=backend, retries=retries)
        options = {"foreground": str(tmp_path / "masks"), "synthesis": synthesis}
        pairs = module(root, textures, **options).pairs(0, 16)
        hit = pairs["mask"].flatten(1).any(1)
        assert torch.equal(pairs["corrupted"][~hit], pairs["clean"][~hit])
        counts.append(int(hit.sum()))
    assert counts[0] < 16
    assert counts[0] < counts[1], "further lattices are tried"


def test_no_object_means_no_defects(tmp_path, root, textures):
    shutil.copytree(root / "masks", tmp_path / "masks")
    for path in (tmp_path / "masks").rglob("*.bmp"):
        Image.new("L", (72, 72)).save(path)
    pairs = module(root, textures, foreground=str(tmp_path / "masks")).pairs(0, 4)
    assert not pairs["mask"].any()
    assert torch.equal(pairs["corrupted"], pairs["clean"])


def test_held_out_defects_lie_on_the_object(root, textures):
    options = {"val_fraction": 0.5, "synthesis": SynthesisParams(retries=5)}
    data = module(root, textures, foreground=str(root / "masks"), **options)
    data.setup("validate")
    inside = torch.from_numpy(disc(dark=True)[1])
    masks = [data._held_out[index]["mask"][0] for index in range(4)]
    assert any(mask.any() for mask in masks)
    assert all(torch.equal(mask, mask * inside) for mask in masks)


def test_masks_of_another_shape_are_named(tmp_path, root, textures):
    shutil.copytree(root / "masks", tmp_path / "masks")
    folder = tmp_path / "masks/disc/train/good"
    Image.new("L", (37, 36)).save(folder / "2.bmp")  # smaller, a pixel off
    Image.new("L", (72, 54)).save(folder / "5.bmp")
    options = {"foreground": str(tmp_path / "masks"), "val_fraction": 0}
    with pytest.raises(DataError, match=r"^\S*5\.bmp has 72x54 pixels, but its image 72x72"):
        module(root, textures, **options).setup("fit")


def test_missing_masks_are_named(tmp_path, root, textures):
    shutil.copytree(root / "masks", tmp_path / "masks")
    for number in (2, 5):
        (tmp_path / f"masks/disc/train/good/{number}.bmp").unlink()
    options = {"foreground": str(tmp_path / "masks"), "val_fraction": 0}
    with pytest.raises(
        DataError, match=r"(?s)2\.png has no foreground mask: .* should hold it as .*5\.png has"
    ):
        module(root, textures, **options).setup("fit")
    for number in (2, 5):
        (tmp_path / f"masks/disc/train/good/{number}.bmp").write_bytes(b"BM")
    with pytest.raises(DataError, match=r"(?s)2 files.*2\.bmp cannot be read.*5\.bmp cannot"):
        module(root, textures, **options).setup("fit")
    with pytest.raises(ConfigError, match=r"--data\.foreground is nowhere"):
        module(root, textures, foreground="nowhere")


def test_the_folder_of_masks_may_be_named_from_home(root, textures, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("USERPROFILE", str(root))
    given = module(root, textures, foreground=str(root / "masks")).pairs(0, 2)
    assert torch.equal(
        module(root, textures, foreground="~/masks").pairs(0, 2)["mask"], given["mask"]
    )


def test_an_accelerator_takes_the_same_steps(root, textures, monkeypatch):
    options = {"foreground": "otsu", "synthesis": SynthesisParams(retries=3, probability=0.5)}
    expected = module(root, textures, **options).pairs(0, 8)["mask"]
    monkeypatch.setattr("padseg.synthesis.perlin.selects_samples", lambda device: False)
    assert torch.equal(module(root, textures, **options).pairs(0, 8)["mask"], expected)
