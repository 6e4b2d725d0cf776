"""Lightning callbacks: metrics, thresholds, records and pictures during validation and test."""

from padseg.callbacks.evaluation import EvaluationCallback
from padseg.callbacks.progress import StepBar
from padseg.callbacks.records import RecordsCallback
from padseg.callbacks.resume import ResumeCheckpoint
from padseg.callbacks.thresholds import ThresholdCallback

__all__ = [
    "EvaluationCallback",
    "RecordsCallback",
    "ResumeCheckpoint",
    "StepBar",
    "ThresholdCallback",
]
