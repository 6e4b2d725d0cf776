"""The four systems as tables of parts, and the network that joins teacher and student.

A fifth system is one new student (or head), one entry in SYSTEMS, its configuration, and its name in
`padseg.names.SystemName`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from padseg.errors import ConfigError
from padseg.losses import cosine_distance
from padseg.models.blocks import ResidualBlock, resize_to
from padseg.models.segmentation import SegmentationNetwork
from padseg.models.students import (
    DenoisingStudent,
    PlainStudent,
    ReconstructionStudent,
)
from padseg.models.teacher import FeaturePair, Normalize, Teacher
from padseg.names import Context, Fusion, LossReduction, Recalibration, SecondConv, Upsample
from padseg.options import one_of


@dataclass(frozen=True)
class System:
    """What makes a system: its parts and the constants of its paper.

    Attributes:
        name: key in SYSTEMS.
        title: as its paper writes it.
        paper: citation.
        teachers: timm tag of each teacher.
        student: builds the student from (channels, width, block).
        student2: builds the second teacher's student from (in_channels, channels, upsample).
        segmentation: a segmentation network follows in a second phase.
        synthetic: the student learns on images with synthetic defects.
        top_k: the image score is the mean of this many largest pixels.
        loss_scale: factor of the distillation loss.
        loss_reduction: the distillation loss over the batch.
        lr: learning rate of the distillation.
        fuse_at_input: multiply the levels' distance maps at the size of the input, not of the
            finest level.
        fusion: default of ResidualBlock.
        second_conv: default of ResidualBlock.
        context: default of SegmentationNetwork.
    """

    name: str
    title: str
    paper: str
    teachers: tuple[str, ...]
    student: Callable[[Sequence[int], int, Callable[..., ResidualBlock]], nn.Module]
    student2: Callable[[int, Sequence[int], Upsample], nn.Module] | None = None
    segmentation: bool = False
    synthetic: bool = False
    top_k: int = 1
    loss_scale: float = 1.0
    loss_reduction: LossReduction = "batch_sum"
    lr: float = 0.4
    fuse_at_input: bool = False
    fusion: Fusion = "add"
    second_conv: SecondConv = "conv"
    context: Context = "aspp"


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            name="stpm",
            title="STPM",
            paper="Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, "
            "BMVC 2021, arXiv 2103.04257",
            teachers=("resnet18.tv_in1k",),
            student=PlainStudent,
            loss_scale=2.0,  # the code's squared distance is twice the cosine distance
            loss_reduction="mean",
        ),
        System(
            name="rstpm",
            title="RSTPM",
            paper="Yamada & Hotta, Reconstruction Student with Attention for Student-Teacher "
            "Pyramid Matching, 2021, arXiv 2111.15376",
            teachers=("resnet18.tv_in1k", "resnet50.tv_in1k"),
            student=PlainStudent,
            student2=ReconstructionStudent,
            fuse_at_input=True,
        ),
        System(
            name="destseg",
            title="DeSTSeg",
            paper="Zhang et al., DeSTSeg: Segmentation Guided Denoising Student-Teacher for "
            "Anomaly Detection, CVPR 2023, arXiv 2211.11317",
            teachers=("resnet18.tv_in1k",),
            student=DenoisingStudent,
            segmentation=True,
            synthetic=True,
            top_k=100,
        ),
        System(
            name="pfadseg",
            title="PFADSeg",
            paper="Song et al., Teacher Encoder-Student Decoder Denoising Guided Segmentation Network for "
            "Anomaly Detection (PFADSeg), 2025, arXiv 2501.12104",
            teachers=("resnet18.tv_in1k",),
            student=DenoisingStudent,
            segmentation=True,
            synthetic=True,
            top_k=100,
            lr=0.5,
            fusion="aff",
            second_conv="pcar",
            context="rcm",
        ),
    )
}


def find_system(name: str) -> System:
    """Look a system up.

    Raises:
        ConfigError: there is none of this name.
    """
    one_of("system", name, SYSTEMS)
    return SYSTEMS[name]


class StudentTeacher(nn.Module):
    """Teachers and students of one system, from images in [0, 1] to a map of their distances.

    Built by `build_student_teacher`. Gradients reach the students only.
    """

    def __init__(
        self,
        system: System,
        teacher: Teacher,
        student: nn.Module,
        teacher2: Teacher | None = None,
        student2: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.system = system
        self.normalize = Normalize()
        self.teacher = teacher
        self.student = student
        self.teacher2 = teacher2
        self.student2 = student2

    def forward(self, clean: Tensor, corrupted: Tensor | None = None) -> list[FeaturePair]:
        """Compare what teachers see in the clean images with what students see in the others.

        Args:
            clean: RGB images (B, 3, H, W) in [0, 1].
            corrupted: the same with synthetic defects, for the first student; None: the clean ones.

        Returns:
            One pair for each teacher, three levels each, fine to coarse.
        """
        clean = self.normalize(clean)
        image = clean if corrupted is None else self.normalize(corrupted)
        features = self.teacher(clean)
        sizes = [(x.shape[-2], x.shape[-1]) for x in features[:3]]
        pairs = [FeaturePair(features[:3], self.student(image, sizes))]
        if self.teacher2 is not None and self.student2 is not None:
            guides = self.teacher2(clean)
            pairs.append(FeaturePair(guides, self.student2(features[3], guides)))
        return pairs

    def score_map(self, pairs: Sequence[FeaturePair], size: tuple[int, int]) -> Tensor:
        """Fuse the distances to one map: the mean over pairs, the product over levels.

        STPM and DeSTSeg multiply at the finest level's size (1/4), RSTPM at the input's.

        Args:
            pairs: what `forward` returned.
            size: (H, W) of the map.

        Returns:
            (B, 1, H, W), float32, in [0, 1].
        """
        height, width = size if self.system.fuse_at_input else pairs[0].teacher[0].shape[-2:]
        fused: Tensor | None = None
        for level in range(len(pairs[0].teacher)):
            distances = [
                resize_to(
                    cosine_distance(pair.teacher[level], pair.student[level])[:, None],
                    (height, width),
                )
                for pair in pairs
            ]
            mean = torch.stack(distances).mean(dim=0)
            fused = mean if fused is None else fused * mean
        assert fused is not None
        return resize_to(fused, size).clamp(0, 1)

    def fingerprint(self) -> str:
        """Hash the weights of the teacher, or of both (sha256, hex)."""
        if self.teacher2 is None:
            return self.teacher.fingerprint()
        both = self.teacher.fingerprint() + self.teacher2.fingerprint()
        return hashlib.sha256(both.encode()).hexdigest()


def build_student_teacher(
    system: str,
    *,
    teacher: str | None = None,
    weights: str = "pretrained",
    teacher2: str | None = None,
    weights2: str = "pretrained",
    width: int = 64,
    fusion: Fusion | None = None,
    second_conv: SecondConv | None = None,
    kernels: Sequence[int] = (3, 3, 3),
    dilations: Sequence[int] = (1, 2, 3),
    recalibration: Recalibration = "channel",
    upsample: Upsample = "deconv",
) -> StudentTeacher:
    """Build teachers and students of a system; None stands for the system's own choice.

    Args:
        system: key in SYSTEMS.
        teacher: timm tag of a backbone with levels at 1/4, 1/8, 1/16 (rstpm: 1/32 as well).
        weights: see Teacher.
        teacher2: timm tag of the second teacher; only rstpm has one.
        weights2: see Teacher.
        width: channels of the student's stem, 64 in the papers.
        fusion: "add" or "aff", see ResidualBlock.
        second_conv: "conv" or "pcar", see ResidualBlock.
        kernels: kernel sizes of "pcar".
        dilations: dilations of "pcar".
        recalibration: "channel" or "pixel", see PCAR.
        upsample: "deconv" or "bilinear", see ReconstructionStudent.

    Raises:
        ConfigError: an option does not exist, or the backbone has other resolutions.
        CheckpointError: a teacher's weights cannot be used.
    """
    parts = find_system(system)
    if width < 16:
        # PyTorch 2.15 on CPUs corrupts memory in the backward pass of strided convolutions with 8 or fewer
        # channels in channels_last.
        raise ConfigError(f"width is {width}; give 16 or more channels.")
    block = _block(parts, fusion, second_conv, kernels, dilations, recalibration)
    if parts.student2 is None:
        first = Teacher(teacher or parts.teachers[0], weights)
        student = parts.student(first.channels, width, block)
        return StudentTeacher(parts, first, student)
    first = Teacher(teacher or parts.teachers[0], weights, (4, 8, 16, 32))
    student = parts.student(first.channels[:3], width, block)
    second = Teacher(teacher2 or parts.teachers[1], weights2, option="--model.weights2")
    student2 = parts.student2(first.channels[3], second.channels, upsample)
    return StudentTeacher(parts, first, student, second, student2)


def build_segmentation(
    system: str,
    channels: Sequence[int],
    *,
    width: int = 256,
    fusion: Fusion | None = None,
    second_conv: SecondConv | None = None,
    context: Context | None = None,
    layer_scale: float = 1.0,
    kernels: Sequence[int] = (3, 3, 3),
    dilations: Sequence[int] = (1, 2, 3),
    recalibration: Recalibration = "channel",
) -> SegmentationNetwork:
    """Build a system's segmentation network; None stands for the system's own choice.

    See SegmentationNetwork and ResidualBlock for the options.

    Raises:
        ConfigError: the system has no second phase, or an option does not exist.
    """
    parts = find_system(system)
    having = [name for name, other in SYSTEMS.items() if other.segmentation]
    one_of("system of a segmentation network", system, having)
    return SegmentationNetwork(
        channels,
        width,
        _block(parts, fusion, second_conv, kernels, dilations, recalibration),
        context or parts.context,
        layer_scale,
    )


def _block(
    parts: System,
    fusion: Fusion | None,
    second_conv: SecondConv | None,
    kernels: Sequence[int],
    dilations: Sequence[int],
    recalibration: Recalibration,
) -> Callable[..., ResidualBlock]:
    return partial(
        ResidualBlock,
        fusion=fusion or parts.fusion,
        second_conv=second_conv or parts.second_conv,
        kernels=kernels,
        dilations=dilations,
        recalibration=recalibration,
    )


def image_score(score_map: Tensor, top_k: int) -> Tensor:
    """Average the largest pixels of each map: 100 in DeSTSeg, the largest one in STPM.

    Args:
        score_map: (B, 1, H, W), any float dtype.
        top_k: how many pixels; all of a smaller map.

    Returns:
        (B,) float32, in the range of the map.
    """
    pixels = score_map.flatten(1).float()
    return pixels.topk(min(top_k, pixels.shape[1]), dim=1).values.mean(dim=1)
