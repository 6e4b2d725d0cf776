"""Results of finished runs: tables in the form of the papers, and a page to look at them."""

from padseg.report.page import report

__all__ = ["report"]
