import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """The tensors here are small, and two busy test runs would wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
