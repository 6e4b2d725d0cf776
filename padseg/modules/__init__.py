"""The two LightningModules."""

from padseg.modules.base import AnomalyModule
from padseg.modules.checkpoint import read_checkpoint
from padseg.modules.distill import StudentDistillModule
from padseg.modules.segment import SegmentationModule

__all__ = [
    "AnomalyModule",
    "SegmentationModule",
    "StudentDistillModule",
    "read_checkpoint",
]
