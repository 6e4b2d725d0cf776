"""Metrics with bounded memory that are exact or within a known error, on any number of devices."""

from padseg.metrics.aupimo import AUPIMO
from padseg.metrics.checks import MetricInputError
from padseg.metrics.further import register
from padseg.metrics.image import ImageMetrics
from padseg.metrics.pixel import PixelMetrics
from padseg.metrics.spro import SPRO

__all__ = ["AUPIMO", "SPRO", "ImageMetrics", "MetricInputError", "PixelMetrics", "register"]
