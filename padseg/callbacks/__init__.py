"""Lightning callbacks."""

from padseg.callbacks.evaluation import EvaluationCallback

__all__ = ["EvaluationCallback"]
