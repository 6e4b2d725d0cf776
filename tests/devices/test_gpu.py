"""Every system on a real GPU: both phases in every precision, without waiting, with the metrics of the CPU."""

import pytest
import torch
from lightning import Callback

from padseg.models import SYSTEMS
from padseg.modules import read_checkpoint
from padseg.names import PRECISION_NAMES

from .training import both_phases, train_and_test

VIT = {"teacher": "test_vit3", "blocks": [[1, 2], [4]]}
STEPS = 12  # the first ones in 16-mixed may overflow and change nothing


class NeverWaits(Callback):
    """From the second step to the third one, which includes the loading of its data."""

    def __init__(self, never_waits) -> None:
        self._block = never_waits()
        self.entered = False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx == 1:
            self._block.__enter__()
            self.entered = True
        elif batch_idx == 2:
            self._block.__exit__(None, None, None)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISION_NAMES)
@pytest.mark.parametrize(
    ("system", "options"), [*((name, {}) for name in SYSTEMS), ("tedseg", VIT)]
)
def test_a_system_in_any_precision(
    system, options, precision, data_root, textures, tmp_path, gpu, never_waits
):
    def train(module, *where):
        scaled = precision == "16-mixed"
        # A memory has no gradients that could be scaled.
        used = precision if module.automatic_optimization or not scaled else "bf16-mixed"
        # With gradients that are scaled, a step asks whether they have overflowed.
        watch = Callback() if scaled else NeverWaits(never_waits)
        device = {"accelerator": gpu, "devices": 1, "precision": used}
        train_and_test(module, *where, watch, steps=STEPS, **device)
        assert scaled or watch.entered

    both_phases(system, options, tmp_path, data_root, textures, train)


@pytest.mark.gpu
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_same_seed_same_weights(system, precision, data_root, textures, tmp_path, gpu):
    def train(*phase):
        device = {"accelerator": gpu, "devices": 1, "precision": precision}
        train_and_test(*phase, Callback(), deterministic=True, **device)

    for attempt in ("first", "second"):
        both_phases(system, {}, tmp_path / attempt, data_root, textures, train)
    phases = sorted(tmp_path.glob("first/*/last.ckpt"))
    assert len(phases) == (1 if SYSTEMS[system].segmentation is None else 2)
    for path in phases:
        again = tmp_path / "second" / path.relative_to(tmp_path / "first")
        one, two = (read_checkpoint(each)["state_dict"] for each in (path, again))
        assert all(torch.equal(one[name], two[name]) for name in one)
