import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from padseg.data import AnomalyDataModule
from padseg.data.samplers import CountedSampler
from padseg.data.samples import split_held_out
from padseg.errors import ConfigError, DataError
from padseg.synthesis import SynthesisParams


def module(root: Path, textures: Path | None, **options) -> AnomalyDataModule:
    options = {"image_size": 64, "batch_size": 4, "augmentation": "full", **options}
    return AnomalyDataModule(str(root), "widget", str(textures) if textures else None, **options)


def test_pairs_have_the_promised_form(data_root, textures):
    pairs = module(data_root, textures).pairs(0, 6)
    assert set(pairs) == {"clean", "corrupted", "mask", "texture"}
    for name in ("clean", "corrupted", "texture"):
        assert pairs[name].shape == (6, 3, 64, 64)
        assert pairs[name].dtype == torch.float32
        assert 0 <= pairs[name].min() <= pairs[name].max() <= 1
    assert pairs["mask"].shape == (6, 1, 64, 64)
    assert set(pairs["mask"].unique().tolist()) == {0.0, 1.0}
    outside = (pairs["mask"] == 0).expand_as(pairs["clean"])
    assert torch.equal(pairs["clean"][outside], pairs["corrupted"][outside])
    assert not torch.equal(pairs["clean"], pairs["corrupted"])


def test_pairs_depend_on_seed_and_number_alone(data_root, textures):
    whole = module(data_root, textures, seed=3).pairs(0, 9)
    again = module(data_root, textures, seed=3)
    parts = [again.pairs(5, 4), again.pairs(0, 2), again.pairs(2, 3)]
    for name, value in whole.items():
        assert torch.equal(value[5:], parts[0][name])
        assert torch.equal(value[:2], parts[1][name])
        assert torch.equal(value[2:5], parts[2][name])
    other = module(data_root, textures, seed=4).pairs(0, 9)
    assert not torch.equal(other["mask"], whole["mask"])


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"cache_limit_mb": 0.0}])
def test_workers_and_mapped_cache_change_no_pair(data_root, textures, options):
    expected = module(data_root, textures, num_workers=0).pairs(0, 8)
    data = module(data_root, textures, **options)
    data.setup("fit")
    loader = iter(data.train_dataloader())
    batches = [data.on_after_batch_transfer(next(loader), 0) for _ in range(2)]
    for name, value in expected.items():
        assert torch.equal(value, torch.cat([batch[name] for batch in batches]))


def test_every_normal_image_comes_once_an_epoch(data_root, textures):
    data = module(data_root, textures, val_fraction=0, augmentation="none")
    clean = data.pairs(0, 24)["clean"]
    for epoch in (clean[:12], clean[12:]):
        assert len({image.numpy().tobytes() for image in epoch}) == 12
    assert not torch.equal(clean[:12], clean[12:])


def test_devices_share_the_batches_of_one(data_root):
    one = list(CountedSampler(12, 48, 6, 1, 0))
    two = [list(CountedSampler(12, 48, 3, 2, rank)) for rank in (0, 1)]
    merged = [n for step in range(6) for rank in (0, 1) for n in two[rank][3 * step : 3 * step + 3]]
    assert one == merged == list(range(12, 48))


def test_a_stream_goes_on_with_batches_of_another_size(data_root):
    """Five batches of 4 are behind; Lightning counts them with what is left."""
    sampler = CountedSampler(20, 60, 8, 1, 0, behind=5)
    assert list(sampler) == list(range(20, 60))
    assert len(sampler) == 8 * (5 + 5)


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


def test_held_out_split_is_stable_when_images_are_added():
    paths = [Path(f"{index:03}.png") for index in range(100)]
    _, held_out = split_held_out(paths, 0.1)
    more = paths + [Path(f"new{index}.png") for index in range(100)]
    train, _ = split_held_out(more, 0.2)
    assert len(held_out) == 10
    assert len(set(held_out) & set(train)) <= 4
    assert split_held_out(paths, 0)[1] == []


def test_files_of_one_name_are_held_out_each_for_itself():
    paths = [Path(f"kos{item:02}/Part{view}.jpg") for item in range(40) for view in range(8)]
    _, held_out = split_held_out(paths, 0.1)
    assert len({path.name for path in held_out}) == 8
    flat = [Path(f"{index:03}.png") for index in range(100)]
    elsewhere = [Path("/data/widget/train/good") / path for path in flat]
    assert split_held_out(elsewhere, 0.1)[1] == [
        Path("/data/widget/train/good") / path for path in split_held_out(flat, 0.1)[1]
    ]


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


def test_mask_follows_the_published_reduction(tmp_path, data_root):
    from padseg.data.masks import read_masks

    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 2, (9, 9)), np.ones((20, 20))).astype(np.uint8) * 255
    for scale in (255, 1):
        path = tmp_path / "mask.png"
        Image.fromarray(mask // 255 * scale).save(path)
        tensor = torch.from_numpy(mask / 255).float()[None, None]
        reference = torch.nn.functional.interpolate(
            tensor, (64, 64), mode="bilinear", antialias=True, align_corners=False
        )
        share = reference[0, 0].numpy()
        ours = read_masks([path], (64, 64))
        sure = abs(share - 0.5) > 1e-3  # both round the filter's weights differently
        assert np.array_equal(ours[sure], (share >= 0.5)[sure])


def test_non_square_images(data_root, textures):
    pairs = module(data_root, textures, image_size=(64, 96)).pairs(0, 3)
    assert pairs["clean"].shape == (3, 3, 64, 96)
    assert pairs["mask"].shape == (3, 1, 64, 96)


def test_noise_backend_and_jitter(data_root, textures):
    params = SynthesisParams(backend="noise", octaves=2, retries=20)
    data = module(data_root, textures, synthesis=params, jitter_textures=True)
    pairs = data.pairs(0, 4)
    assert pairs["mask"].sum() > 0
    assert torch.equal(pairs["corrupted"], data.pairs(0, 4)["corrupted"])
    assert set(module(data_root, None, synthesis=None).pairs(0, 2)) == {"clean"}


def position(data) -> dict[str, int]:
    return {name: value for name, value in data.state_dict().items() if name != "options"}


def test_resume_goes_on_with_the_next_sample(data_root, textures):
    data = module(data_root, textures)
    data.setup("fit")
    data.load_state_dict({"next_sample": 8, "step": 2})
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert torch.equal(batch["mask"], data.pairs(8, 4)["mask"])
    assert position(data) == {"next_sample": 8, "step": 2, "batches": 2}


def test_another_batch_size_goes_on_with_the_next_sample_too(data_root, textures):
    data = module(data_root, textures, batch_size=3)
    data.setup("fit")
    data.load_state_dict({"next_sample": 8, "step": 2, "batches": 4})
    data.trainer = SimpleNamespace(
        max_steps=6,
        global_step=4,
        world_size=1,
        num_devices=1,
        global_rank=0,
        accumulate_grad_batches=2,
        limit_train_batches=1.0,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    # Two steps of two batches of three after sample 8; four such steps to the end.
    assert position(data) == {"next_sample": 20, "step": 4, "batches": 8}
    assert list(data.train_dataloader().sampler) == list(range(8, 32))


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


def test_truncated_image_is_named(broken, textures):
    image = broken / "widget/train/good/003.png"
    image.write_bytes(image.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"003\.png cannot be read"):
        module(broken, textures).setup("fit")


def test_masks_are_checked_before_training(broken):
    mask = broken / "widget/ground_truth/spot/002_mask.png"
    Image.new("L", (10, 12)).save(mask)
    with pytest.raises(DataError, match=r"002_mask\.png has 10x12 pixels.*72x72"):
        module(broken, None).setup("test")
    mask.unlink()
    with pytest.raises(DataError, match=r"002\.png shows a defect but has no mask"):
        module(broken, None).setup("test")


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 8},
        {"batch_size": 0},
        {"val_fraction": 1.0},
        {"seed": -1},
        {"num_workers": -1},
        {"augmentation": "Full"},
    ],
)
def test_bad_options(data_root, options):
    with pytest.raises(ConfigError):
        module(data_root, None, **options)
