"""A teacher seen at several zooms, and a student that remembers its normal features.

TEDSeg's networks. The memory is that of PatchCore (Roth et al., CVPR 2022). What is usual at each place comes
from PaDiM (Defard et al., 2021), which models the features there; here only their distance is modelled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padseg.models.layers import resize_to, smooth_to
from padseg.models.memory import Memory
from padseg.models.options import NetworkOptions
from padseg.models.scores import log_distances
from padseg.models.student_teacher import StudentTeacher
from padseg.models.teacher import FeaturePair, Teacher

if TYPE_CHECKING:
    from padseg.models.registry import System

_CANDIDATES = 200_000  # vectors of which the entries of a memory are chosen
_MEASURING = 1 / 8  # share of the steps
_GRID = 64  # places in a row and in a column of an image
_FINEST = 4  # pixels of the image in a row of one pixel of the segmentation, at most
_SMOOTH = 1.0  # standard deviation, in places
_LEAST_DEVIATION = 0.1  # of a logarithm
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


class MemoryStudent(nn.Module):
    """Finds the nearest normal features, and knows the usual distance to them at each place.

    Args:
        channels: channels of the levels of each source.
        size: entries of each memory.

    Attributes:
        memories: one for each source.
        count: number of images from which the distances were measured.
        mean: of the logarithmic distance of normal images at each place, (levels, 64, 64).
        moment: sum of the squared deviations from `mean`, alike.
        candidates: what each step has collected for each source, until the entries are chosen.
    """

    count: Tensor
    mean: Tensor
    moment: Tensor

    def __init__(self, channels: Sequence[Sequence[int]], size: int = 2000) -> None:
        super().__init__()
        self.channels = channels
        self.memories = nn.ModuleList(Memory(size, sum(of)) for of in channels)
        levels = sum(len(of) for of in channels)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(levels, _GRID, _GRID))
        self.register_buffer("moment", torch.zeros(levels, _GRID, _GRID))
        self.candidates: list[Sequence[tuple[Tensor, Tensor]]] = []
        self._filled = False

    @property
    def filled(self) -> bool:
        """Whether the entries have been chosen; the device is asked only until they have."""
        if not self._filled and not self.candidates:
            self._filled = all(bool(memory.get_buffer("image")[0] >= 0) for memory in self.memories)
        return self._filled

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._filled = False
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, keys: Sequence[Tensor], own: Tensor | None = None) -> list[Tensor]:
        """The nearest features of normal images.

        Args:
            keys: for each source, vectors (B, C, h, w).
            own: see Memory.

        Returns:
            The levels of all sources, (B, C_k, h_k, w_k).
        """
        levels: list[Tensor] = []
        for memory, channels, key in zip(self.memories, self.channels, keys, strict=True):
            levels += memory(key, own).split(list(channels), dim=1)
        return levels

    def usual(self) -> Tensor:
        """Mean and deviation of the logarithmic distance of normal images, (2, levels, 64, 64)."""
        variance = self.moment / (self.count - 1).clamp(min=1)
        mean, variance = (
            smooth_to(x[None], (_GRID, _GRID), (_SMOOTH, _SMOOTH))[0] for x in (self.mean, variance)
        )
        return torch.stack([mean, variance.clamp(min=0).sqrt() + _LEAST_DEVIATION])

    def collect(self, vectors: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Add candidates: vectors (n, C) and their images (n,) for each source."""
        self.candidates.append(vectors)

    def all_candidates(self) -> Sequence[tuple[Tensor, Tensor]]:
        """The candidates of each source, joined; none if there are none."""
        if len(self.candidates) > 1:
            device = self.candidates[-1][0][0].device  # those of a checkpoint are still on the CPU
            joined = [
                (
                    torch.cat([vectors.to(device) for vectors, _ in of]),
                    torch.cat([image.to(device) for _, image in of]),
                )
                for of in zip(*self.candidates, strict=True)
            ]
            self.candidates = [joined]
        return self.candidates[0] if self.candidates else []

    def choose(self) -> None:
        """Choose the entries of all memories from the candidates, which are then forgotten."""
        for memory, candidates in zip(self.memories, self.all_candidates(), strict=True):
            assert isinstance(memory, Memory)
            memory.choose(*candidates)
        self.candidates = []

    @torch.no_grad()
    def measure(self, distances: Tensor) -> None:
        """Update the statistics with logarithmic distances of normal images, (B, levels, 64, 64).

        Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
        """
        more = len(distances)
        count = self.count + more
        shift = distances.mean(dim=0) - self.mean
        inside = (distances - distances.mean(dim=0)).square().sum(dim=0)
        self.moment += inside + shift.square() * (self.count * more / count)
        self.mean += shift * (more / count)
        self.count.copy_(count)


class MemoryStudentTeacher(StudentTeacher):
    """One teacher, and a memory as its student.

    The student learns from what it sees, without gradients: `observe` takes the steps of phase one.

    Args:
        teacher: see StudentTeacher.
        student: the memory.
        sources: what is remembered; finest places first.

    Attributes:
        zooms: of the sources that the memory was filled from, which a checkpoint must share.
    """

    student: MemoryStudent
    zooms: Tensor

    def __init__(self, teacher: Teacher, student: MemoryStudent, sources: Sequence[Source]) -> None:
        super().__init__(teacher, student)
        self.sources = tuple(sources)
        self.register_buffer("zooms", torch.tensor([source.zoom for source in sources]))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(f"{prefix}zooms")
        if stored is not None and stored.tolist() != self.zooms.tolist():
            raise RuntimeError("its memory holds features of images that were enlarged differently")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the levels of all sources."""
        return tuple(number for of in self.student.channels for number in of)

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
        return [FeaturePair(teacher, answer, self.student.usual(), (height, width))]

    def look(self, image: Tensor) -> list[list[Tensor]]:
        """The levels of each source for images (B, 3, H, W) in [0, 1]: unit vectors at the same places."""
        image = self.normalize(image)
        seen: dict[float, list[Tensor]] = {}
        found = []
        for source in self.sources:
            if source.zoom not in seen:
                height, width = (int(length * source.zoom) for length in image.shape[-2:])
                zoomed = resize_to(image, self.teacher.fit((height, width)))
                # The pyramid is a channels_last network; interpolation forgets the layout of its input.
                features = self.teacher(zoomed.contiguous(memory_format=torch.channels_last))
                seen[source.zoom] = [x.float() for x in features]
            found.append(_unit_levels([seen[source.zoom][k] for k in source.levels], source.pool))
        return found

    @torch.no_grad()
    def observe(
        self,
        image: Tensor,
        index: Tensor,
        first: int,
        step: int,
        steps: int,
        gather: Callable[[Tensor], Tensor],
    ) -> Tensor | None:
        """Take a step of phase one: collect candidates, choose the entries, then measure distances.

        Args:
            image: normal images (B, 3, H, W) in [0, 1].
            index: number of the training image that each is made from, (B,).
            first: number of the first of them in the stream of samples, which determines their places.
            step: number of the step, from 0.
            steps: of the phase.
            gather: concatenates the tensors of all processes.

        Returns:
            The mean distance, once there is a memory to measure it from.
        """
        student, collecting = self.student, collecting_steps(steps)
        if student.filled:
            (pair,) = self(image, index=index)
            distances = gather(log_distances(pair, (_GRID, _GRID)))
            student.measure(distances)
            return distances.exp().mean()
        levels, index = self.look(image), gather(index)
        each = -(-_CANDIDATES // (collecting * len(index)))
        student.collect(
            [
                (gather(vectors).flatten(0, 1), index.repeat_interleave(vectors.shape[1]))
                for vectors in (_places(torch.cat(of, dim=1), each, first) for of in levels)
            ]
        )
        if step + 1 >= collecting:
            student.choose()
        return None


def collecting_steps(steps: int) -> int:
    """Steps of phase one in which candidates are collected; the others measure."""
    return max(1, steps - max(1, round(steps * _MEASURING)))


def memory_network(
    system: "System",
    options: NetworkOptions,
    weights: Sequence[str],
    *,
    sources: Sequence[Source],
    transformer: Source,
) -> MemoryStudentTeacher:
    """Join a teacher with three levels, or a transformer, and a memory of its features.

    Args:
        system: the system.
        options: the configured options.
        weights: source of the teacher's weights, see Teacher.
        sources: what is remembered of a pyramid.
        transformer: what is remembered of a transformer.

    Raises:
        ConfigError: an option does not exist, or the backbone has other resolutions.
        CheckpointError: the teacher's weights cannot be used.
    """
    teacher = Teacher(
        options.teacher_name(system.teachers),
        weights[0],
        transformers=True,
        blocks=options.blocks,
    )
    if teacher.is_transformer:
        sources = [replace(transformer, levels=tuple(range(len(teacher.channels))))]
    channels = [[teacher.channels[k] for k in source.levels] for source in sources]
    return MemoryStudentTeacher(teacher, MemoryStudent(channels, options.memory_size), sources)


def _unit_levels(levels: list[Tensor], pool: int) -> list[Tensor]:
    """Average neighbours, bring all levels to the places of the first, scale to unit length."""
    levels = [F.avg_pool2d(x, pool, 1, pool // 2, count_include_pad=False) for x in levels]
    size = levels[0].shape[-2:]
    levels = [resize_to(x, (size[0], size[1])) for x in levels]
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
