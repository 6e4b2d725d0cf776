"""Student-teacher visual anomaly detection in PyTorch Lightning."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padseg.data import AnomalyDataModule
    from padseg.inference import Predictor
    from padseg.metrics import ImageMetrics, PixelMetrics
    from padseg.modules import SegmentationModule, StudentDistillModule
    from padseg.training import train

__all__ = [
    "AnomalyDataModule",
    "ImageMetrics",
    "PixelMetrics",
    "Predictor",
    "SegmentationModule",
    "StudentDistillModule",
    "train",
]
__version__ = "0.1.0"

# Imported when they are first used, so that `import padseg` takes no time.
_ROOMS = {
    "AnomalyDataModule": "data",
    "ImageMetrics": "metrics",
    "PixelMetrics": "metrics",
    "Predictor": "inference",
    "SegmentationModule": "modules",
    "StudentDistillModule": "modules",
    "train": "training",
}
_PACKAGES = {
    *("callbacks", "data", "drawing", "export", "inference"),
    *("errors", "losses", "metrics", "models", "modules", "synthesis"),
}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"padseg.{name}")
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"padseg.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *_PACKAGES})
