"""Networks without Lightning: teachers, students, segmentation networks, and the systems built from them."""

from padseg.models import systems  # noqa: F401 - registers the systems that come with padseg
from padseg.models.aspp import ASPP
from padseg.models.memory_network import MemoryStudentTeacher
from padseg.models.options import NetworkOptions
from padseg.models.rcm import RCM
from padseg.models.reconstruction import ReconstructionStudent
from padseg.models.registry import (
    SYSTEMS,
    System,
    build_segmentation,
    build_student_teacher,
    find_system,
    register,
)
from padseg.models.residual import BlockOptions, ResidualBlock
from padseg.models.scores import image_score
from padseg.models.segmentation import SegmentationNetwork, SegmentationOptions
from padseg.models.student_teacher import StudentTeacher
from padseg.models.students import DenoisingStudent, PlainStudent
from padseg.models.teacher import FeaturePair, Normalize, Teacher

__all__ = [
    "ASPP",
    "RCM",
    "SYSTEMS",
    "BlockOptions",
    "DenoisingStudent",
    "FeaturePair",
    "MemoryStudentTeacher",
    "NetworkOptions",
    "Normalize",
    "PlainStudent",
    "ReconstructionStudent",
    "ResidualBlock",
    "SegmentationNetwork",
    "SegmentationOptions",
    "StudentTeacher",
    "System",
    "Teacher",
    "build_segmentation",
    "build_student_teacher",
    "find_system",
    "image_score",
    "register",
]
