"""A tiny module and its data, shared by the tests of the callbacks."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer

from padseg.data import AnomalyDataModule
from tiny import tiny_data, tiny_student, tiny_trainer


@pytest.fixture(scope="session")
def module():
    torch.manual_seed(0)  # whatever ran before
    return tiny_student(top_k=5)


@pytest.fixture(scope="session")
def make_data(data_root, textures):
    """A fresh data module, which belongs to one Trainer at a time."""

    def make(root: Path = data_root) -> AnomalyDataModule:
        return tiny_data(root, textures, batch_size=3, val_fraction=0.4)

    return make


@pytest.fixture(scope="session")
def make_trainer(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")

    def make(*callbacks, max_steps=-1, **more) -> Trainer:
        options = {"num_sanity_val_steps": 2, **more}
        return tiny_trainer(root, max_steps, callbacks=list(callbacks), **options)

    return make


@pytest.fixture
def tested(module, make_data, make_trainer):
    """Tests the module beside callbacks and returns the Trainer."""

    def test(*callbacks, data=None, **options) -> Trainer:
        trainer = make_trainer(*callbacks, **options)
        trainer.test(module, datamodule=data or make_data(), verbose=False)
        return trainer

    return test
