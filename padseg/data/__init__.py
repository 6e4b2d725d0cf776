"""From files to batches."""

from padseg.data.datamodule import AnomalyDataModule
from padseg.data.samples import Sample, list_samples

__all__ = ["AnomalyDataModule", "Sample", "list_samples"]
