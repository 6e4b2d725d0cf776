"""What crosses to data workers, also where they are spawned, as on Windows and macOS."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from padseg.data import AnomalyDataModule
from padseg.data.datasets import CountedSampler, paint_pairs

OPTIONS = {"image_size": 64, "augmentation": "full", "jitter_textures": True, "foreground": "otsu"}


@pytest.fixture(params=[4096.0, 0.0], ids=["memory", "mapped"])
def data(request, data_root, textures) -> AnomalyDataModule:
    options = {**OPTIONS, "cache_limit_mb": request.param, "val_fraction": 0.25}
    data = AnomalyDataModule(str(data_root), "widget", str(textures), **options)
    data.setup(None)
    return data


def same(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name])
        if isinstance(value, torch.Tensor)
        else value == theirs[name]
        for name, value in ours.items()
    )


def test_datasets_survive_pickling(data):
    for dataset in (data._train, data._held_out, data._test):
        copy = pickle.loads(pickle.dumps(dataset))
        assert all(same(copy[index], dataset[index]) for index in range(3))
    if data.cache_limit_mb == 0:
        assert len(pickle.dumps(data._train.images)) < 1000, "the pixels are not sent along"


@pytest.mark.slow
def test_spawned_workers_make_the_same_pairs(data):
    sampler = CountedSampler(0, 8, 4, 1, 0)
    loader = DataLoader(
        data._train, 4, sampler=sampler, num_workers=2, multiprocessing_context="spawn"
    )
    batches = [paint_pairs(batch, data.synthesis) for batch in loader]
    expected = data.pairs(0, 8)
    for name, value in expected.items():
        assert torch.equal(torch.cat([batch[name] for batch in batches]), value)
