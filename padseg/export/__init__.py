"""A checkpoint as a file for another runtime, or for exchange."""

from padseg.export.convert import export

__all__ = ["export"]
