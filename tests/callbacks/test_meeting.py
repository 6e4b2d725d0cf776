"""When the processes of a training meet."""

from types import SimpleNamespace

import pytest
import torch

from padseg.callbacks import meeting
from padseg.callbacks.meeting import LONGEST, Meeting


class Strategy:
    """Reduces over this process and another, which would meet again after `calls`."""

    root_device = torch.device("cpu")

    def __init__(self, calls):
        self.calls, self.met = calls, 0

    def reduce(self, tensor, reduce_op):
        assert reduce_op == "max"
        self.met += 1
        return torch.maximum(tensor, torch.tensor([0.0, -float(self.calls)]))


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=100.0)
    monkeypatch.setattr(meeting.time, "monotonic", lambda: now.time)
    return now


def test_one_process_decides_in_every_step():
    trainer = SimpleNamespace(world_size=1)
    assert [Meeting().any(trainer, mine) for mine in (True, False, True)] == [True, False, True]


@pytest.mark.parametrize(
    ("seconds", "others", "expected"),
    [(0.1, 1000, 10), (3.0, 1000, 1), (1e-5, 1000, LONGEST), (0.1, 4, 4)],
)
def test_processes_meet_about_once_a_second(clock, seconds, others, expected):
    strategy = Strategy(others)
    trainer, met = SimpleNamespace(world_size=2, strategy=strategy), Meeting()
    for _ in range(4 * LONGEST):
        met.any(trainer, False)
        clock.time += seconds
    first = strategy.met
    for _ in range(10 * expected):
        met.any(trainer, False)
        clock.time += seconds
    assert strategy.met - first == 10


def test_what_holds_is_kept_until_they_meet(clock):
    """The caller repeats its wish: what was true between two meetings is true at the next."""
    trainer, met = SimpleNamespace(world_size=2, strategy=Strategy(1000)), Meeting()
    answers = []
    for _ in range(40):
        clock.time += 0.1
        answers.append(met.any(trainer, True))
    assert answers[:2] == [True, True]
    assert 4 <= sum(answers) <= 6
