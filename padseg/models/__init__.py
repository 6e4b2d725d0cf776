"""Networks without Lightning: teachers, students, segmentation, and the systems made of them."""

from padseg.models.blocks import ASPP, RCM, ResidualBlock
from padseg.models.segmentation import SegmentationNetwork
from padseg.models.students import DenoisingStudent, PlainStudent, ReconstructionStudent
from padseg.models.systems import (
    SYSTEMS,
    StudentTeacher,
    System,
    build_segmentation,
    build_student_teacher,
    find_system,
    image_score,
)
from padseg.models.teacher import FeaturePair, Normalize, Teacher

__all__ = [
    "ASPP",
    "RCM",
    "SYSTEMS",
    "DenoisingStudent",
    "FeaturePair",
    "Normalize",
    "PlainStudent",
    "ReconstructionStudent",
    "ResidualBlock",
    "SegmentationNetwork",
    "StudentTeacher",
    "System",
    "Teacher",
    "build_segmentation",
    "build_student_teacher",
    "find_system",
    "image_score",
]
