"""TEDSeg's networks: one teacher or two, seen at several zooms, and a student that remembers normal features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padseg.models.backbones import find_depth
from padseg.models.layers import resize_to
from padseg.models.memory_student import MemoryStudent
from padseg.models.options import NetworkOptions
from padseg.models.student_teacher import StudentTeacher
from padseg.models.teacher import WEIGHTS_OPTION, FeaturePair, Teacher

if TYPE_CHECKING:
    from padseg.models.registry import System

_CANDIDATES = 200_000  # vectors of which the entries of a memory are chosen
_FINEST = 4  # pixels of the image in a row of one pixel of the segmentation, at most
_SHORTEST = 1e-3  # added to lengths of features, so that none is divided by zero


@dataclass(frozen=True)
class Source:
    """Levels of the teacher whose features are remembered together, as one vector a place.

    Attributes:
        levels: which of the teacher's levels, fine to coarse; the first determines the places. Empty: all.
        zoom: factor by which the image is enlarged before the teacher.
        pool: side of the square of places that are averaged; odd.
    """

    levels: tuple[int, ...] = ()
    zoom: float = 1.0
    pool: int = 3


class MemoryStudentTeacher(StudentTeacher):
    """One teacher or two, and a memory as the student of both.

    The student learns without gradients: each step of phase one calls `collect`, and the last one `student.choose`.

    Args:
        teachers: one or two, see StudentTeacher.
        student: the memory, of all sources of the first teacher and then of the second.
        sources: what is remembered of each teacher; finest places first.

    Attributes:
        zooms: of the sources that the memory was filled from, which a checkpoint must share.
    """

    student: MemoryStudent
    zooms: Tensor

    def __init__(
        self,
        teachers: Sequence[Teacher],
        student: MemoryStudent,
        sources: Sequence[Sequence[Source]],
    ) -> None:
        super().__init__(teachers[0], student)
        self.teacher2 = teachers[1] if len(teachers) > 1 else None
        self.sources = sources
        zooms = [source.zoom for of in sources for source in of]
        self.register_buffer("zooms", torch.tensor(zooms))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(f"{prefix}zooms")
        if stored is not None and stored.tolist() != self.zooms.tolist():
            raise RuntimeError("its memory holds features of images that were enlarged differently")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the levels of all sources of the first teacher."""
        return tuple(chain(*self.student.channels[: len(self.sources[0])]))

    @property
    def channels2(self) -> tuple[int, ...]:
        """Channels of those of the second teacher; none without one."""
        return tuple(chain(*self.student.channels[len(self.sources[0]) :]))

    def forward(
        self, clean: Tensor, corrupted: Tensor | None = None, index: Tensor | None = None
    ) -> list[FeaturePair]:
        """See StudentTeacher.

        Args:
            clean: RGB images (B, 3, H, W) in [0, 1].
            corrupted: what the student answers to; None: the clean images.
            index: number of the training image that each is made from, (B,), of which the student then
                remembers nothing; None for images that it has not seen.
        """
        expected = self.look(clean)
        seen = expected if corrupted is None else self.look(corrupted)
        answer = self.student([torch.cat(levels, dim=1) for levels in seen], index)
        teacher = [level for levels in expected for level in levels]
        # A transformer's patches are coarser than a pyramid's finest places.
        height, width = (
            max(places, length // _FINEST)
            for places, length in zip(teacher[0].shape[-2:], clean.shape[-2:], strict=True)
        )
        own = len(self.channels)
        return [
            FeaturePair(teacher[part], answer[part], (height, width))
            for part in (slice(own), slice(own, None))
            if teacher[part]
        ]

    def look(self, image: Tensor) -> list[list[Tensor]]:
        """The levels of each source for images (B, 3, H, W) in [0, 1]: unit vectors at the same places."""
        image = self.normalize(image)
        found = _look(self.teacher, self.sources[0], image)
        if self.teacher2 is not None:
            found += _look(self.teacher2, self.sources[1], image)
        return found

    @torch.no_grad()
    def collect(
        self,
        image: Tensor,
        index: Tensor,
        first: int,
        steps: int,
        gather: Callable[[Tensor], Tensor],
    ) -> None:
        """Collect candidates for the memories, in a step of phase one.

        Args:
            image: normal images (B, 3, H, W) in [0, 1].
            index: number of the training image that each is made from, (B,).
            first: number of the first of them in the stream of samples, which determines their places.
            steps: of the phase.
            gather: concatenates the tensors of all processes.
        """
        levels, index = self.look(image), gather(index)
        each = -(-_CANDIDATES // (steps * len(index)))
        self.student.candidates.append(
            [
                (gather(vectors).flatten(0, 1), index.repeat_interleave(vectors.shape[1]))
                for vectors in (_places(torch.cat(of, dim=1), each, first) for of in levels)
            ]
        )


def _look(teacher: Teacher, sources: Sequence[Source], image: Tensor) -> list[list[Tensor]]:
    """The levels of each source of a teacher for standardised images."""
    seen: dict[float, list[Tensor]] = {}
    found = []
    for source in sources:
        if source.zoom not in seen:
            height, width = (int(length * source.zoom) for length in image.shape[-2:])
            zoomed = resize_to(image, teacher.input_size_for((height, width)))
            # The pyramid is a channels_last network; interpolation forgets the layout of its input.
            zoomed = zoomed.contiguous(memory_format=torch.channels_last)
            seen[source.zoom] = [x.float() for x in _features(teacher, zoomed)]
        found.append(_unit_levels([seen[source.zoom][k] for k in source.levels], source.pool))
    return found


def _features(teacher: Teacher, image: Tensor) -> Sequence[Tensor]:
    """The teacher's features; a CPU computes those of one image after the other."""
    if image.device.type != "cpu" or torch.compiler.is_compiling():
        whole: Sequence[Tensor] = teacher(image)
        return whole
    # For a whole batch, every layer needs memory that the operating system must clear first, which takes a third of
    # the time (PyTorch 2.15).
    return [torch.cat(levels) for levels in zip(*map(teacher, torch.split(image, 1)), strict=True)]


def memory_network(
    system: "System",
    options: NetworkOptions,
    weights: Sequence[str],
    *,
    sources: Sequence[Source],
    transformer: Source,
) -> MemoryStudentTeacher:
    """Join one teacher or two, each with three levels or a transformer, and a memory of their features.

    Args:
        system: the system.
        options: the configured options.
        weights: source of each teacher's weights, see Teacher.
        sources: what is remembered of a pyramid.
        transformer: what is remembered of a transformer.

    Raises:
        ConfigError: an option does not exist, or the backbone has other resolutions.
        CheckpointError: a teacher's weights cannot be used.
    """
    names = options.teacher_names(system.teachers)
    has_transformer = any(find_depth(name) for name in names)
    teachers: list[Teacher] = []
    read: list[Sequence[Source]] = []
    channels: list[Sequence[int]] = []
    options_of_weights = (WEIGHTS_OPTION, "--model.weights2")
    for name, source, option in zip(names, weights, options_of_weights, strict=False):
        depth = find_depth(name)
        # Blocks are of the transformers; a pyramid refuses them if there is none.
        blocks = options.blocks if depth or not has_transformer else None
        teacher = Teacher(name, source, option=option, transformers=True, blocks=blocks)
        teachers.append(teacher)
        every = tuple(range(len(teacher.channels)))
        read.append([replace(transformer, levels=every)] if depth else sources)
        channels += [[teacher.channels[k] for k in source.levels] for source in read[-1]]
    return MemoryStudentTeacher(teachers, MemoryStudent(channels, options.memory_size), read)


def _unit_levels(levels: list[Tensor], pool: int) -> list[Tensor]:
    """Average neighbours, bring all levels to the places of the first, scale to unit length."""
    levels = [F.avg_pool2d(x, pool, 1, pool // 2, count_include_pad=False) for x in levels]
    levels = [resize_to(x, levels[0].shape[-2:]) for x in levels]
    return [x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + _SHORTEST) for x in levels]


def _places(key: Tensor, each: int, first: int) -> Tensor:
    """Vectors (B, each, C) at random places, which depend on the number of the sample alone."""
    vectors = key.flatten(2).transpose(1, 2)
    numbers = range(first, first + len(vectors))
    orders = [
        torch.randperm(vectors.shape[1], generator=torch.Generator().manual_seed(number))[:each]
        for number in numbers
    ]
    chosen = torch.stack(orders).to(key.device, non_blocking=True)
    return vectors.gather(1, chosen[:, :, None].expand(-1, -1, vectors.shape[2]))
