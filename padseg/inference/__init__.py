"""A trained module at work."""

from padseg.inference.predictor import Prediction, Predictor, Region

__all__ = ["Prediction", "Predictor", "Region"]
