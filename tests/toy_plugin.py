"""A plugin with one of everything that can be registered, as a researcher would write it.

The system `toy` departs from the built-in ones in every part: its student reads the teacher's features of
the corrupted image, not the image; its finest level is the half-size image; and it has its own losses,
head, score maps, score rule, optimiser and schedule.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import BinaryJaccardIndex
from torchvision.ops import Conv2dNormActivation

from padseg import metrics, synthesis
from padseg.data import Sample, layouts
from padseg.losses import distillation_loss, resize_mask
from padseg.models import (
    BlockOptions,
    FeaturePair,
    NetworkOptions,
    ResidualBlock,
    SegmentationOptions,
    StudentTeacher,
    System,
    Teacher,
    image_score,
    register,
)
from padseg.models.layers import resize_to
from padseg.models.scores import distance_map, probability_map

IOU_THRESHOLD = 0.05


class ToyStudent(nn.Module):
    """Squeezes the teacher's features through one layer, and tells each level of the clean image."""

    def __init__(self, channels: Sequence[int], width: int, block: BlockOptions) -> None:
        super().__init__()
        self.gather = Conv2dNormActivation(sum(channels), width, kernel_size=1)
        self.block = ResidualBlock(width, width, options=block)
        self.levels = nn.ModuleList(nn.Conv2d(width, c, 1) for c in (3, *channels))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        half, *levels = features
        size = (levels[-1].shape[-2], levels[-1].shape[-1])
        x = self.block(self.gather(torch.cat([resize_to(x, size) for x in levels], dim=1)))
        sizes = [(f.shape[-2], f.shape[-1]) for f in (half, *levels)]
        return [conv(resize_to(x, size)) for conv, size in zip(self.levels, sizes, strict=True)]


class ToyStudentTeacher(StudentTeacher):
    """Teacher and encoder in one, with the half-size image as the finest level."""

    @property
    def channels(self) -> tuple[int, ...]:
        return (3, *self.teacher.channels)

    def forward(self, clean: Tensor, corrupted: Tensor | None = None) -> list[FeaturePair]:
        expected = self.look(clean)
        seen = expected if corrupted is None else self.look(corrupted)
        return [FeaturePair(expected, self.student(seen))]

    def look(self, image: Tensor) -> list[Tensor]:
        image = self.normalize(image)
        return [functional.avg_pool2d(image, 2), *self.teacher(image)]


class ToyHead(nn.Module):
    """Compares the half-size images alone."""

    def __init__(self, channels: Sequence[int], options: SegmentationOptions) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Conv2dNormActivation(channels[0], options.width), nn.Conv2d(options.width, 1, 1)
        )

    def forward(self, pair: FeaturePair) -> Tensor:
        logits: Tensor = self.layers((pair.teacher[0] - pair.student[0]).abs())
        return logits


def join(system: System, options: NetworkOptions, weights: Sequence[str]) -> ToyStudentTeacher:
    teacher = Teacher(options.teacher or system.teachers[0], weights[0])
    student = system.student(teacher.channels, options.width, options.block(system.block))
    return ToyStudentTeacher(teacher, student)


def coarse(pairs: Sequence[FeaturePair]) -> list[FeaturePair]:
    """The pairs without their finest level."""
    return [FeaturePair(pair.teacher[1:], pair.student[1:]) for pair in pairs]


def toy_loss(pairs: Sequence[FeaturePair], reduction: str, scale: float) -> Tensor:
    (pair,) = pairs
    image = functional.l1_loss(pair.student[0].float(), pair.teacher[0].float())
    return scale * (image + distillation_loss(coarse(pairs), "mean"))


def toy_map(pairs: Sequence[FeaturePair], size: tuple[int, int]) -> Tensor:
    return distance_map(coarse(pairs), size)


def toy_segmentation_loss(logits: Tensor, mask: Tensor, **_: float) -> Tensor:
    target = resize_mask(mask, (logits.shape[-2], logits.shape[-1]))
    return functional.binary_cross_entropy_with_logits(logits.float(), target)


def toy_segmentation_map(
    logits: Tensor, size: tuple[int, int], pairs: Sequence[FeaturePair]
) -> Tensor:
    return functional.avg_pool2d(probability_map(logits, size), 3, stride=1, padding=1)


def toy_score(score_map: Tensor, top_k: int, pairs: Sequence[FeaturePair]) -> Tensor:
    size = (score_map.shape[-2], score_map.shape[-1])
    return image_score(score_map * toy_map(pairs, size).sqrt(), top_k)


def adamw(groups: list[dict], momentum: float, weight_decay: float, fused: bool) -> Optimizer:
    return AdamW(groups, betas=(momentum, 0.999), weight_decay=weight_decay, fused=fused)


def linear_decay(optimizer: Optimizer, steps: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: 1 - step / steps)


def list_toy(root: Path, category: str) -> list[Sample]:
    """`<root>/<category>_good/*` trains but for the last two, which are tested with `_bad` and `_mask`."""
    *train, first, second = sorted((root / f"{category}_good").iterdir())
    bad = sorted((root / f"{category}_bad").iterdir())
    return [
        *(Sample(path, "train") for path in train),
        *(Sample(path, "test") for path in (first, second)),
        *(Sample(path, "test", "spot", (root / f"{category}_mask" / path.name,)) for path in bad),
    ]


def draw_square(
    rng: np.random.Generator,
    params: synthesis.SynthesisParams,
    size: tuple[int, int],
    foreground: Tensor | None,
) -> dict[str, Tensor]:
    height, width = size
    corner = [int(rng.integers(height // 2)), int(rng.integers(width // 2))]
    return {"opacity": torch.tensor(1.0), "corner": torch.tensor(corner)}


def squares(
    draws: dict[str, Tensor], params: synthesis.SynthesisParams, size: tuple[int, int]
) -> Tensor:
    height, width = size
    rows = torch.arange(height)[:, None] - draws["corner"][:, 0, None, None]
    columns = torch.arange(width) - draws["corner"][:, 1, None, None]
    inside = (rows >= 0) & (rows < height // 4) & (columns >= 0) & (columns < width // 4)
    return inside[:, None].float()


register(
    System(
        name="toy",
        title="Toy",
        paper="No paper",
        teachers=("test_resnet",),
        student=ToyStudent,
        network=join,
        block=BlockOptions(fusion="aff"),
        synthetic=True,
        distillation_loss=toy_loss,
        loss_reduction="mean",
        lr=1e-3,
        distance_map=toy_map,
        image_score=toy_score,
        top_k=20,
        segmentation=ToyHead,
        segmentation_loss=toy_segmentation_loss,
        segmentation_map=toy_segmentation_map,
        optimizer=adamw,
        schedule=linear_decay,
        recipes=Path(__file__).with_name("toy_recipes"),
    )
)
layouts.register("toy", layouts.Layout(list_toy, "<category>_good"))
synthesis.register("square", synthesis.MaskKind(draw_square, squares))
metrics.register("pixel_iou", partial(BinaryJaccardIndex, threshold=IOU_THRESHOLD), "pixel")
