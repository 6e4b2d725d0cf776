"""The two LightningModules."""

from padseg.modules.base import AnomalyModule
from padseg.modules.checkpoint import read_checkpoint
from padseg.modules.distill import StudentDistillModule
from padseg.modules.segment import SegmentationModule

MODULES: dict[str, type[AnomalyModule]] = {
    module.__name__: module for module in (StudentDistillModule, SegmentationModule)
}

__all__ = [
    "MODULES",
    "AnomalyModule",
    "SegmentationModule",
    "StudentDistillModule",
    "read_checkpoint",
]
