"""The two LightningModules."""

from padseg.modules.base import AnomalyModule
from padseg.modules.checkpoint import read_checkpoint, read_header
from padseg.modules.distill import StudentDistillModule
from padseg.modules.header import Header
from padseg.modules.segment import SegmentationModule

__all__ = [
    "AnomalyModule",
    "Header",
    "SegmentationModule",
    "StudentDistillModule",
    "read_checkpoint",
    "read_header",
]
