"""The counted stream of training samples, and where a resumed training continues."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from padseg.data.samplers import CountedSampler
from padseg.errors import CheckpointError
from padseg.synthesis import Mixture, SynthesisParams
from tiny import tiny_data

module = partial(tiny_data, augmentation="full")


both = pytest.mark.parametrize("backend", ["perlin", "mixed"])


@both
def test_pairs_depend_on_seed_and_number_alone(data_root, textures, backend):
    synthesis = SynthesisParams(backend=backend)
    whole = module(data_root, textures, seed=3, synthesis=synthesis).pairs(0, 9)
    again = module(data_root, textures, seed=3, synthesis=synthesis)
    parts = [again.pairs(5, 4), again.pairs(0, 2), again.pairs(2, 3)]
    for name, value in whole.items():
        assert torch.equal(value[5:], parts[0][name])
        assert torch.equal(value[:2], parts[1][name])
        assert torch.equal(value[2:5], parts[2][name])
    other = module(data_root, textures, seed=4, synthesis=synthesis).pairs(0, 9)
    assert not torch.equal(other["mask"], whole["mask"])


@both
@pytest.mark.parametrize("options", [{"num_workers": 2}, {"cache_limit_mb": 0.0}])
def test_workers_and_mapped_cache_change_no_pair(data_root, textures, options, backend):
    synthesis = SynthesisParams(backend=backend)
    expected = module(data_root, textures, num_workers=0, synthesis=synthesis).pairs(0, 8)
    data = module(data_root, textures, synthesis=synthesis, **options)
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


@pytest.mark.parametrize("synthesis", [None, SynthesisParams()])
def test_the_index_is_the_number_of_the_trained_image(data_root, textures, synthesis):
    data = module(data_root, textures, val_fraction=0.25, augmentation="none", synthesis=synthesis)
    pairs = data.pairs(4, 14)
    assert pairs["index"].dtype == torch.int64
    assert set(pairs["index"].tolist()) == set(range(9))
    for number, clean in zip(pairs["index"].tolist(), pairs["clean"], strict=True):
        kept = torch.from_numpy(data._train.images[number]).permute(2, 0, 1)
        assert torch.equal((clean * 255).round().byte(), kept)


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


def position(data) -> dict[str, int]:
    state = data.state_dict()
    return {name: state[name] for name in ("next_sample", "step", "batches")}


@both
def test_resume_goes_on_with_the_next_sample(data_root, textures, backend):
    data = module(data_root, textures, synthesis=SynthesisParams(backend=backend))
    data.setup("fit")
    data.load_state_dict({"next_sample": 8, "step": 2})
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    for name, value in data.pairs(8, 4).items():
        assert torch.equal(batch[name], value)
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
        callbacks=[],
        fit_loop=SimpleNamespace(restarting=False),
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    # Two steps of two batches of three after sample 8; four such steps to the end.
    assert position(data) == {"next_sample": 20, "step": 4, "batches": 8}
    assert list(data.train_dataloader().sampler) == list(range(8, 32))


def test_a_training_without_mixture_goes_on_from_an_earlier_checkpoint(data_root, textures):
    """Checkpoints did not have the mixture, which other back-ends do not read."""
    before = module(data_root, textures).state_dict()
    assert "mixture" not in before["options"]["synthesis"]
    mixed = module(data_root, textures, synthesis=SynthesisParams(backend="mixed"))
    other = SynthesisParams(backend="mixed", mixture=Mixture(soft_edges=0.25))
    changed = module(data_root, textures, synthesis=other)
    changed.trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), global_step=0)
    with pytest.raises(CheckpointError, match=r"--data\.synthesis .*0\.5.* not .*0\.25"):
        changed.load_state_dict(mixed.state_dict())
    changed.load_state_dict(changed.state_dict())


def test_a_training_goes_on_with_the_rotation_that_it_began_with(data_root, textures):
    """Checkpoints did not have the option, whose default is what they did."""
    before = module(data_root, textures).state_dict()
    assert "resampled" not in before["options"]["synthesis"]
    changed = module(data_root, textures, synthesis=SynthesisParams(resampled=True))
    changed.trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), global_step=0)
    with pytest.raises(CheckpointError, match=r"--data\.synthesis .* not .*'resampled': True"):
        changed.load_state_dict(before)
    changed.load_state_dict(changed.state_dict())
