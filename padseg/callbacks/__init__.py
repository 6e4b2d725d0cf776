"""Lightning callbacks: metrics, thresholds, records, pictures and dashboards of a run."""

from padseg.callbacks.best import BestCheckpoint
from padseg.callbacks.compile import CompileCallback
from padseg.callbacks.dashboard import WandbCallback
from padseg.callbacks.evaluation import EvaluationCallback
from padseg.callbacks.pictures import PicturesCallback
from padseg.callbacks.progress import StepBar, StepLines
from padseg.callbacks.records import RecordsCallback
from padseg.callbacks.resume import ResumeCheckpoint
from padseg.callbacks.sigterm import StopTogether
from padseg.callbacks.wandb_logger import SectionedWandbLogger
from padseg.modules.thresholds import ThresholdCallback

__all__ = [
    "BestCheckpoint",
    "CompileCallback",
    "EvaluationCallback",
    "PicturesCallback",
    "RecordsCallback",
    "ResumeCheckpoint",
    "SectionedWandbLogger",
    "StepBar",
    "StepLines",
    "StopTogether",
    "ThresholdCallback",
    "WandbCallback",
]
