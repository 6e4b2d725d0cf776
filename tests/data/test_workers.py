"""What is passed to data workers, including spawned ones as on Windows and macOS."""

import pickle
from types import SimpleNamespace

import cv2
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from padseg.data import AnomalyDataModule
from padseg.data.pairs import paint_pairs
from padseg.data.samplers import CountedSampler

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


@pytest.mark.parametrize(
    ("chosen", "methods", "workers", "mapped"),
    [
        (None, ["fork", "spawn"], 2, False),
        (None, ["spawn"], 2, True),  # Windows and macOS
        (None, ["forkserver", "spawn", "fork"], 2, True),  # Linux, from Python 3.14 on
        ("spawn", ["fork", "spawn"], 2, True),
        (None, ["spawn"], 0, False),
    ],
)
def test_pixels_are_sent_to_no_worker(
    chosen, methods, workers, mapped, data_root, textures, monkeypatch
):
    monkeypatch.setattr("multiprocessing.get_start_method", lambda allow_none: chosen)
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: methods)
    data = AnomalyDataModule(str(data_root), "widget", str(textures), 64, num_workers=workers)
    data.setup("fit")
    assert (len(pickle.dumps(data._train)) < 10_000) == mapped


@pytest.mark.parametrize(
    ("cores", "free_mb", "processes", "workers"),
    [
        (2, 4096, 1, 0),
        (6, 4096, 1, 4),
        (64, 4096, 1, 8),
        (64, 1024, 1, 8),
        (64, 250, 1, 2),
        (64, 250, 2, 1),
        (64, 64, 1, 0),  # a container's: what waits of training and validation does not fit
        (16, 4096, 4, 2),
    ],
)
def test_workers_have_cores_and_shared_memory(
    cores, free_mb, processes, workers, data_root, monkeypatch
):
    usage = SimpleNamespace(free=free_mb * 2**20)
    monkeypatch.setattr("padseg.data.workers.usable_cores", lambda: cores)
    monkeypatch.setattr("padseg.data.workers.shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr("padseg.data.workers._SHARED_MEMORY", data_root)
    data = AnomalyDataModule(str(data_root), "widget", image_size=256, batch_size=32)
    data.trainer = SimpleNamespace(num_devices=processes)
    assert data._workers() == workers
    monkeypatch.setenv("PADSEG_PARALLEL", str(processes))  # runs side by side
    data.trainer = None
    assert data._workers() == workers


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


class Threads(Dataset):
    """The number of OpenCV's threads in the process that asks."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return cv2.getNumThreads()


def test_workers_start_no_threads(data):
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    data.num_workers = 1
    init = data.train_dataloader().worker_init_fn
    loader = DataLoader(Threads(), num_workers=1, worker_init_fn=init)
    threads = next(iter(loader)).item()
    assert cv2.getNumThreads() == 4
    cv2.setNumThreads(before)
    assert threads == 1
