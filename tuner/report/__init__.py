"""Reports: one HTML file that opens offline, for searches, winners and suite tables."""

from tuner.report.write import html, write

__all__ = ["html", "write"]
