"""Stage report: results/ → reports/index.html and reports/results.csv."""

from __future__ import annotations

from latentlab.config import load_project
from latentlab.report.comparison import read_comparison
from latentlab.report.files import write_reports
from latentlab.utils.errors import LatentlabError


def main(argv: list[str] | None = None) -> None:
    """Write reports/index.html and reports/results.csv."""
    if argv:
        raise LatentlabError(f"report takes no arguments, got {argv}; settings are in params.yaml")
    project = load_project()
    print(f"page: {write_reports(read_comparison(project), project.root)}")
