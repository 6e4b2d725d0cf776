"""Export checkpoints to other runtimes, or as weights for exchange."""

from padseg.export.convert import export

__all__ = ["export"]
