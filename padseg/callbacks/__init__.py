"""Lightning callbacks."""

from padseg.callbacks.evaluation import EvaluationCallback
from padseg.callbacks.progress import StepBar
from padseg.callbacks.resume import ResumeCheckpoint
from padseg.callbacks.thresholds import ThresholdCallback

__all__ = ["EvaluationCallback", "ResumeCheckpoint", "StepBar", "ThresholdCallback"]
