"""Teachers and students together: from images to pairs of features."""

import hashlib

from torch import Tensor, nn

from padseg.models.teacher import FeaturePair, Normalize, Teacher


class StudentTeacher(nn.Module):
    """One teacher, and a student that sees the image.

    Gradients reach only the student. For a system whose student sees something else, or that compares
    other levels, write a subclass with its own `forward` and `channels`.

    Args:
        teacher: maps standardised images to features, fine to coarse.
        student: maps standardised images (B, 3, H, W) and the (height, width) of each level to
            features like the teacher's.
    """

    def __init__(self, teacher: Teacher, student: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.teacher = teacher
        self.student = student

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the first pair's levels, fine to coarse."""
        return self.teacher.channels

    @property
    def channels2(self) -> tuple[int, ...]:
        """Channels of the second pair's levels, if a segmentation network of its own reads them; else none."""
        return ()

    def forward(self, clean: Tensor, corrupted: Tensor | None = None) -> list[FeaturePair]:
        """The features of the teachers for clean images, and those of the students for corrupted ones.

        Args:
            clean: RGB images (B, 3, H, W) in [0, 1].
            corrupted: the same images with synthetic defects, for the first student; None: the clean ones.

        Returns:
            One pair for each teacher, with as many levels as `channels`, fine to coarse.
        """
        clean = self.normalize(clean)
        image = clean if corrupted is None else self.normalize(corrupted)
        features = self.teacher(clean)
        return [FeaturePair(features, self.student(image, sizes_of(features)))]

    def fingerprint(self) -> str:
        """Hash the weights of all teachers (sha256, hex)."""
        each = [part.fingerprint() for part in self.children() if isinstance(part, Teacher)]
        return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


class TwoStudentTeacher(StudentTeacher):
    """RSTPM: a second student reconstructs a second teacher's features from the first teacher's last ones.

    Args:
        teacher: has four levels, the last at 1/32 resolution; three are compared.
        student: see StudentTeacher.
        teacher2: maps standardised images to features, fine to coarse.
        student2: maps the first teacher's last level and the second teacher's features to features
            like the latter.
    """

    def __init__(
        self, teacher: Teacher, student: nn.Module, teacher2: Teacher, student2: nn.Module
    ) -> None:
        super().__init__(teacher, student)
        self.teacher2 = teacher2
        self.student2 = student2

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the first pair's levels, fine to coarse."""
        return self.teacher.channels[:3]

    def forward(self, clean: Tensor, corrupted: Tensor | None = None) -> list[FeaturePair]:
        """See StudentTeacher."""
        clean = self.normalize(clean)
        image = clean if corrupted is None else self.normalize(corrupted)
        *features, last = self.teacher(clean)
        first = FeaturePair(features, self.student(image, sizes_of(features)))
        guides = self.teacher2(clean)
        return [first, FeaturePair(guides, self.student2(last, guides))]


def sizes_of(features: list[Tensor]) -> list[tuple[int, int]]:
    """(height, width) of each level."""
    return [(x.shape[-2], x.shape[-1]) for x in features]
