"""From good images alone to a calibrated checkpoint."""

from padseg.training.command import train

__all__ = ["train"]
