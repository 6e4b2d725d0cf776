"""Prediction with trained modules."""

from padseg.inference.prediction import Prediction, Region
from padseg.inference.predictor import Predictor
from padseg.modules.loading import load_module

__all__ = ["Prediction", "Predictor", "Region", "load_module"]
