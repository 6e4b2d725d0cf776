"""A tiny module and its data, shared by the tests of the callbacks."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer

from padseg.data import AnomalyDataModule
from tiny import tiny_data, tiny_student


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

    def make(*callbacks, logger=False, **more) -> Trainer:
        return Trainer(
            accelerator="cpu",
            default_root_dir=root,
            logger=logger,
            callbacks=list(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            **{"log_every_n_steps": 1, **more},
        )

    return make
