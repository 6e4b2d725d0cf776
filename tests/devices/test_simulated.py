"""Every system on a simulated GPU: one device throughout, and no step that waits for it."""

import numpy as np
import pytest
import torch
from lightning import Callback

from padseg.inference import Predictor
from padseg.models import SYSTEMS
from tiny import tiny_student

from .simulated import CUDA, SimulatedDevice, simulated_strategy
from .training import SIZE, both_phases, train_and_test


@pytest.fixture
def device():
    with SimulatedDevice() as device:
        yield device


class Watch(Callback):
    """Where each step waited, with its data's copy to the device and with all callbacks."""

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device
        self.waits: list[list[str]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx:
            self.waits.append(self.device.waits)
        self.device.reset()


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
@pytest.mark.parametrize(
    "system",
    # The others' thousands of operations take up to twenty seconds.
    [pytest.param(name, marks=() if name == "stpm" else pytest.mark.slow) for name in SYSTEMS],
)
def test_a_system(system, data_root, textures, tmp_path, device):
    def train(*phase):
        watch = Watch(device)
        train_and_test(*phase, watch, steps=4, strategy=simulated_strategy())
        # The first step checks the loss, and the third one is validated.
        assert watch.waits[1:-1] == [[]]

    both_phases(system, {}, tmp_path, data_root, textures, train)


def test_images_are_sent_to_a_network_that_does_not_wait(device, monkeypatch):
    torch.manual_seed(0)
    module = tiny_student("stpm", image_size=SIZE).eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), dtype=np.uint8)
    expected = Predictor(module, device="cpu", precision="32-true", batch_size=2)(images)
    pinned = []
    # Pinning takes a driver.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(len(self)) or self)
    predictor = Predictor(module, device=CUDA, precision="32-true", batch_size=2)
    device.reset()
    found = predictor(images)
    assert pinned == [2, 2, 1]
    assert not any("copy to the device" in wait for wait in device.waits)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.score_map, other.score_map)


def test_what_a_gpu_refuses(device):
    there, here = torch.ones(3, device=CUDA), torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        there + here
    with pytest.raises(TypeError):
        there.numpy()
    assert torch.equal((there + torch.tensor(2.0)).cpu(), torch.full((3,), 3.0))


@pytest.mark.parametrize(
    ("waits", "action"),
    [
        (True, lambda there: there.sum().item()),
        (True, lambda there: bool(there.any())),
        (True, lambda there: there[there > 1]),
        (True, lambda there: there.nonzero()),
        (True, lambda there: there.cpu()),
        (True, lambda there: there.tolist()),
        (True, lambda there: torch.ones(3).to(CUDA)),
        (True, lambda there: torch.tensor([1.0], device=CUDA)),
        (False, lambda there: torch.ones(3).to(CUDA, non_blocking=True)),
        (False, lambda there: there.bfloat16().sum() + torch.zeros((), device=CUDA)),
        (False, lambda there: there.masked_fill(there > 1, 0)),
    ],
)
def test_what_a_gpu_waits_for(waits, action, device):
    there = torch.tensor([1.0, 2.0, 3.0]).to(CUDA)
    device.reset()
    action(there)
    assert bool(device.waits) == waits


def test_gradients_and_launches(device):
    values = torch.randn(4, 4, dtype=torch.float64)
    there = values.to(CUDA).requires_grad_()
    device.reset()
    (there.relu() @ there).square().sum().backward()
    assert not device.waits
    assert device.kernels["mm"] == 3
    expected = values.clone().requires_grad_()
    (expected.relu() @ expected).square().sum().backward()
    assert torch.equal(there.grad.cpu(), expected.grad)
