"""What a system consists of, and the registry of systems.

To add a system from outside the package, register it in a module and name that module with `--plugin`:

    from padseg.models import System, register

    register(System(name="mine", title="Mine", paper="", teachers=("resnet18.tv_in1k",),
                    student=MyStudent, recipes=Path(__file__).parent))
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from padseg import losses
from padseg.errors import ConfigError
from padseg.models import scores
from padseg.models.options import NetworkOptions
from padseg.models.reconstruction import ReconstructionStudent
from padseg.models.residual import PLAIN, BlockOptions
from padseg.models.segmentation import SegmentationOptions
from padseg.models.student_teacher import StudentTeacher, TwoStudentTeacher
from padseg.models.teacher import FeaturePair, Teacher
from padseg.names import Context, LossReduction

StudentFactory = Callable[[Sequence[int], int, BlockOptions], nn.Module]
NetworkFactory = Callable[["System", NetworkOptions, Sequence[str]], StudentTeacher]


def one_teacher(
    system: "System", options: NetworkOptions, weights: Sequence[str]
) -> StudentTeacher:
    """Join a teacher with three levels and a student that sees the image.

    Args:
        system: the system.
        options: the configured options.
        weights: source of each teacher's weights, see Teacher.

    Raises:
        ConfigError: an option does not exist, or the backbone has other resolutions.
        CheckpointError: a teacher's weights cannot be used.
    """
    name, *_ = options.teacher_names(system.teachers)
    teacher = Teacher(name, weights[0])
    assert system.student is not None
    student = system.student(teacher.channels, options.width, options.block(system.block))
    return StudentTeacher(teacher, student)


def two_teachers(
    system: "System", options: NetworkOptions, weights: Sequence[str]
) -> TwoStudentTeacher:
    """Join RSTPM's two teachers, the first with a fourth level, and its two students.

    See one_teacher.
    """
    name, name2 = options.teacher_names(system.teachers)
    first = Teacher(name, weights[0], (4, 8, 16, 32))
    assert system.student is not None
    student = system.student(first.channels[:3], options.width, options.block(system.block))
    second = Teacher(name2, weights[1], option="--model.weights2")
    student2 = ReconstructionStudent(first.channels[3], second.channels, options.upsample)
    return TwoStudentTeacher(first, student, second, student2)


@dataclass(frozen=True, kw_only=True)
class System:
    """A system: its parts, and the constants of its paper.

    Attributes:
        name: in the registry, on the command line and in checkpoints.
        title: its name as the paper writes it.
        paper: citation.
        teachers: timm tag of each teacher, of one or two.
        takes_second: whether users may add a second teacher to a system of one, for `network` to join.
        student: builds the student from (channels of the levels, width, block). None if `network` builds it
            without these options.
        memory: whether the student is a memory. It learns without gradients: each step of phase one calls
            the network's `collect`, see MemoryStudentTeacher. In phase two the network gets the `index` of
            each training image, of which the student then remembers nothing.
        network: joins teachers and students; takes (system, options, weights of each teacher).
        block: residual block of student and segmentation network.
        synthetic: whether the student learns on images with synthetic defects.
        distillation_loss: of phase one, called with (pairs, loss_reduction, loss_scale).
        loss_scale: factor of the distillation loss.
        loss_reduction: reduction of the distillation loss over the batch.
        lr: learning rate of the distillation.
        distance_map: computes the score map of phase one, (B, 1, H, W) float32 in [0, 1], from (pairs,
            (H, W)).
        image_score: computes the image scores, (B,), from (score map, top_k, pairs).
        top_k: the image score is the mean of this many highest pixels.
        top_share: in place of `top_k`, their share of all pixels of an image.
        segmentation: builds the network of a second phase from (channels of the levels, options);
            None for a system of one phase. It maps a FeaturePair to logits (B, 1, h, w), in training
            perhaps to several, (B, n, h, w). Its submodule `res`, if there is one, learns with `lr_res`, the
            rest with `lr_head`. If the student-teacher network has `channels2`, a second segmentation network
            reads its second pair and returns logits of the same size. At each pixel the larger of the two
            logits counts; the loss gets them all.
        context: default of SegmentationOptions.
        segmentation_width: default of SegmentationOptions.width.
        segmentation_loss: of phase two, called with (logits, mask, gamma=, focal_weight=,
            l1_weight=).
        gamma: default of the exponent of the focal loss.
        l1_weight: default of the weight of the L1 loss.
        lr_res: learning rate of `res` in phase two.
        lr_head: learning rate of the rest in phase two.
        weight_decay: of phase two.
        segmentation_map: computes the score map of phase two from (logits, (H, W), pairs).
        optimizer: of both phases, called with (parameter groups, momentum=, weight_decay=, fused=).
        schedule: of both phases; takes (optimizer, number of steps) and is stepped after each step.
            None: constant rates.
        recipes: folder of distill.yaml and, with a second phase, segment.yaml, for `padseg run`;
            None: the folder configs/<name> that comes with padseg.
    """

    name: str
    title: str
    paper: str
    teachers: tuple[str, ...]
    takes_second: bool = False
    student: StudentFactory | None = None
    memory: bool = False
    network: NetworkFactory = one_teacher
    block: BlockOptions = PLAIN
    synthetic: bool = False
    distillation_loss: Callable[[Sequence[FeaturePair], LossReduction, float], Tensor] = (
        losses.distillation_loss
    )
    loss_scale: float = 1.0
    loss_reduction: LossReduction = "batch_sum"
    lr: float = 0.4
    distance_map: Callable[[Sequence[FeaturePair], tuple[int, int]], Tensor] = scores.distance_map
    image_score: Callable[[Tensor, int, Sequence[FeaturePair]], Tensor] = scores.image_score
    top_k: int = 1
    top_share: float | None = None
    segmentation: Callable[[Sequence[int], SegmentationOptions], nn.Module] | None = None
    context: Context = "aspp"
    segmentation_width: int = 256
    segmentation_loss: Callable[..., Tensor] = losses.segmentation_loss
    gamma: float = 4.0
    l1_weight: float = 1.0
    lr_res: float = 0.1
    lr_head: float = 0.01
    weight_decay: float = 1e-4
    segmentation_map: Callable[[Tensor, tuple[int, int], Sequence[FeaturePair]], Tensor] = (
        scores.probability_map
    )
    optimizer: Callable[..., Optimizer] = torch.optim.SGD
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    recipes: Path | None = None

    def highest(self, size: tuple[int, int]) -> int:
        """How many pixels the image score averages in images of (H, W) pixels."""
        if self.top_share is None:
            return self.top_k
        return max(1, round(self.top_share * size[0] * size[1]))


SYSTEMS: dict[str, System] = {}


def register(system: System) -> System:
    """Add a system. It replaces one of the same name, so that a notebook cell can be run again.

    Returns:
        The system.
    """
    SYSTEMS[system.name] = system
    return system


def find_system(name: str) -> System:
    """Look up a system.

    Raises:
        ConfigError: there is no system of this name.
    """
    if name not in SYSTEMS:
        raise ConfigError(
            f"system is {name!r}; give one of {', '.join(SYSTEMS)}, or name the module that registers it "
            "with --plugin."
        )
    return SYSTEMS[name]


def build_student_teacher(
    options: NetworkOptions, weights: str = "pretrained", weights2: str = "pretrained"
) -> StudentTeacher:
    """Build the teachers and students of a system.

    Args:
        options: the options of the network.
        weights: source of the teacher's weights, see Teacher.
        weights2: source of the second teacher's weights.

    Raises:
        ConfigError: an option does not exist, or the backbone has other resolutions.
        CheckpointError: a teacher's weights cannot be used.
    """
    system = find_system(options.system)
    if options.width < 16:
        # PyTorch 2.15 on CPUs corrupts memory in the backward pass of strided convolutions with 8 or fewer
        # channels in channels_last.
        raise ConfigError(f"width is {options.width}; give 16 or more channels.")
    return system.network(system, options, (weights, weights2))


def build_segmentation(
    options: NetworkOptions,
    channels: Sequence[int],
    *,
    width: int | None = None,
    context: Context | None = None,
    layer_scale: float = 1.0,
) -> nn.Module:
    """Build a system's segmentation network.

    Args:
        options: the system, and the options of its residual blocks.
        channels: of the levels, fine to coarse.
        width: see SegmentationOptions; None: the system's own.
        context: see SegmentationOptions; None: the system's own.
        layer_scale: see SegmentationOptions.

    Raises:
        ConfigError: the system has no second phase, or an option does not exist.
    """
    system = find_system(options.system)
    if system.segmentation is None:
        having = (name for name, other in SYSTEMS.items() if other.segmentation)
        raise ConfigError(
            f"system {options.system} has no segmentation network; give one of {', '.join(having)}."
        )
    block = options.block(system.block)
    width = system.segmentation_width if width is None else width
    if width < 1:
        raise ConfigError(f"--model.segmentation_width is {width}; it must be at least 1.")
    own = SegmentationOptions(width, block, context or system.context, layer_scale)
    return system.segmentation(channels, own)
