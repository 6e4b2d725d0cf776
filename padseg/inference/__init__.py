"""Prediction with trained modules."""

from padseg.inference.predictor import Prediction, Predictor, Region
from padseg.inference.weights import load_module

__all__ = ["Prediction", "Predictor", "Region", "load_module"]
