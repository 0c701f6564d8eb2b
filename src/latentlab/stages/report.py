"""Stage report: results/ → reports/index.html and reports/results.csv.

It runs after all evaluations, so it also adds the means over several trainings to MLflow.
"""

from __future__ import annotations

from latentlab.config import load_project
from latentlab.report.comparison import read_comparison
from latentlab.report.files import write_reports
from latentlab.stages.mlflow_runs import add_spreads
from latentlab.utils.errors import LatentlabError


def main(argv: list[str] | None = None) -> None:
    """Write reports/index.html and reports/results.csv."""
    if argv:
        raise LatentlabError(f"report takes no arguments, got {argv}; settings are in params.yaml")
    project = load_project()
    comparison = read_comparison(project)
    print(f"page: {write_reports(comparison, project.root)}")
    trainings = {model.row.name: model.trainings for model in comparison.models}
    add_spreads(project, {name: rows for name, rows in trainings.items() if len(rows) > 1})
