"""Write the files of a comparison: reports/index.html and reports/results.csv."""

from __future__ import annotations

from pathlib import Path

from latentlab.report.comparison import Comparison, comparison_csv
from latentlab.report.page import render_page
from latentlab.utils.files import write_atomic


def write_reports(comparison: Comparison, root: Path) -> Path:
    """Write both files into the project `root`. Return the path of the page."""
    page = root / "reports" / "index.html"
    write_atomic(root / "reports" / "results.csv", comparison_csv(comparison).encode())
    write_atomic(page, render_page(comparison).encode())
    return page
