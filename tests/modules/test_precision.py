"""Which parts compute in which type in mixed precision: the guide's table, as recorded."""

import re
from pathlib import Path

import pytest
import torch

from padseg.modules import SegmentationModule
from tiny import tiny_data, tiny_segmentation, tiny_student

GUIDE = Path(__file__).parents[2] / ".github" / "GUIDE.md"


def table():
    """Type by part, of the guide's section on precision."""
    section = GUIDE.read_text(encoding="utf-8").split("## Precision\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (bfloat16|float32) \|$", section, re.MULTILINE)
    assert len(rows) > 8
    return {part: getattr(torch, name) for part, name in rows}


def outputs(layers):
    """Record the types that layers return."""
    found = set()

    def note(part, args, output):
        for one in output if isinstance(output, list | tuple) else [output]:
            found.add(one.dtype)

    for layer in layers:
        layer.register_forward_hook(note)
    return found


def convolutions(module):
    return [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)]


@pytest.fixture
def recorded(data_root, textures):
    """The types of one training step of DeSTSeg's phases, and of a score."""
    student = tiny_student("destseg")
    head = tiny_segmentation(network=student.network.to_dict(), system="destseg", image_size=64)
    assert isinstance(head, SegmentationModule)
    batch = tiny_data(data_root, textures).pairs(0, 4)
    found = {"images and synthetic defects": batch["corrupted"].dtype}
    exact = [head.segmentation.head.context.pooled[0], head.segmentation.head.out[-1]]
    others = [layer for layer in convolutions(head.segmentation) if layer not in exact]
    layers = {
        "convolutions of teacher and student": outputs(convolutions(student.student_teacher)),
        "convolutions of the segmentation network": outputs(others),
        "its pooled branch, its last convolution and its logits": outputs(exact),
    }
    statistics = {
        part.running_mean.dtype for part in student.modules() if hasattr(part, "running_mean")
    }
    losses = []
    with torch.autocast("cpu", torch.bfloat16):
        pairs = student.compare(batch["corrupted"])
        losses.append(student.parts.distillation_loss(pairs, "mean", 1.0))
        logits = head.logits(head.compare(batch["corrupted"]))
        losses.append(head.parts.segmentation_loss(logits, batch["mask"], gamma=4.0))
        scores = [module(batch["clean"]) for module in (student, head)]
    for loss in losses:
        loss.backward()
    parts = [*student.parameters(), *head.segmentation.parameters()]
    layers["its pooled branch, its last convolution and its logits"].add(logits.dtype)
    found |= {name: only(types) for name, types in layers.items()}
    return found | {
        "features of teacher and student": only(
            {x.dtype for x in pairs[0].teacher + pairs[0].student}
        ),
        "statistics of batch norms": only(statistics),
        "losses": only({loss.dtype for loss in losses}),
        "weights, gradients": only({v.dtype for p in parts for v in (p, p.grad) if v is not None}),
        "score map": only({score["score_map"].dtype for score in scores}),
        "image score": only({score["image_score"].dtype for score in scores}),
    }


def only(types):
    (one,) = types
    return one


def test_the_guide_names_what_is_computed(recorded):
    assert recorded == table()
