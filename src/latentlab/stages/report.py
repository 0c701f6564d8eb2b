"""Stage report: results/ → reports/index.html and reports/results.csv."""

from __future__ import annotations

from latentlab.config import load_project
from latentlab.contracts import LatentlabError
from latentlab.plots import write_atomic
from latentlab.report.page import page
from latentlab.report.results import read_results, results_csv
from latentlab.stages import entry


def main(argv: list[str] | None = None) -> None:
    """Write reports/index.html and reports/results.csv."""
    if argv:
        raise LatentlabError(f"report takes no arguments, got {argv}; settings are in params.yaml")
    project = load_project()
    results = read_results(project)
    reports = project.root / "reports"
    write_atomic(reports / "results.csv", results_csv(results).encode())
    write_atomic(reports / "index.html", page(results).encode())
    print(f"page: {reports / 'index.html'}")


if __name__ == "__main__":
    entry(main, alone=True)
