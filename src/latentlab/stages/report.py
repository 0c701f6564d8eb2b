"""Stage report: results/ → reports/index.html and reports/results.csv."""

from __future__ import annotations

from latentlab.config import load_project
from latentlab.report.comparison import comparison_csv, read_comparison
from latentlab.report.page import render_page
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_atomic


def main(argv: list[str] | None = None) -> None:
    """Write reports/index.html and reports/results.csv."""
    if argv:
        raise LatentlabError(f"report takes no arguments, got {argv}; settings are in params.yaml")
    project = load_project()
    comparison = read_comparison(project)
    reports = project.root / "reports"
    write_atomic(reports / "results.csv", comparison_csv(comparison).encode())
    write_atomic(reports / "index.html", render_page(comparison).encode())
    print(f"page: {reports / 'index.html'}")
