"""Optimisers and schedules for systems that learn otherwise than with SGD."""

import math
import pickle

import pytest
import torch
from torch import nn

from padseg.models.optimizers import adamw, warm_up_and_cosine


def test_only_weights_decay():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    groups = [{"params": list(network.parameters()), "lr": 0.5}]
    optimizer = adamw(groups, momentum=0.8, weight_decay=0.3, fused=False)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decays) == 4
    for parameter in network.parameters():
        assert decays[id(parameter)] == (0.3 if parameter is network[0].weight else 0)
    assert {(g["lr"], g["betas"]) for g in optimizer.param_groups} == {(0.5, (0.8, 0.999))}


@pytest.mark.parametrize("steps", [1, 3, 200])
def test_rates_rise_and_fall(steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warm_up_and_cosine(optimizer, steps)
    assert pickle.dumps(schedule)  # with the Trainer of an AnomalyDataModule
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    rise = max(1, steps // 20)
    assert rates[:rise] == pytest.approx([2 * (t + 1) / rise for t in range(rise)])
    half_turns = [math.pi * t / (steps - rise) for t in range(steps - rise)]
    assert rates[rise:] == pytest.approx([1 + math.cos(x) + 0.02 for x in half_turns])
