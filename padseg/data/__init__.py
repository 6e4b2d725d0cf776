"""From files to batches."""

from padseg.data.datamodule import AnomalyDataModule
from padseg.data.layouts import list_samples
from padseg.data.samples import Sample

__all__ = ["AnomalyDataModule", "Sample", "list_samples"]
