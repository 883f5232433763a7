"""One HTML page, one Markdown page, figures: what a run found, how sure that is, and what it cost."""

from llmrec.report.report import write_report

__all__ = ["write_report"]
