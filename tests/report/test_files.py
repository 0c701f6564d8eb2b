"""The files of reports/, also while the pipeline runs."""

import pytest

from latentlab.report.comparison import read_comparison
from latentlab.report.files import write_reports
from latentlab.utils.errors import LatentlabError


def test_models_without_results_are_named_and_left_out(root, project_of) -> None:
    project = project_of(root)
    first, second, *rest = project.models
    (root / "results" / first / "cost.json").unlink()
    comparison = read_comparison(project, outdated={second})
    assert comparison.pending == [first, second]
    assert [model.row.name for model in comparison.models] == rest
    page = write_reports(comparison, root)
    assert page == root / "reports" / "index.html"
    assert f"<code>{first}</code>, <code>{second}</code>" in page.read_text()
    assert len((root / "reports" / "results.csv").read_text().splitlines()) == 1 + len(
        comparison.rows
    )


def test_a_page_of_no_model_at_all_has_the_baselines(root, project_of) -> None:
    project = project_of(root)
    comparison = read_comparison(project, outdated=set(project.models))
    assert comparison.models == []
    assert "Real images" in write_reports(comparison, root).read_text()


def test_a_complete_page_names_nothing_and_a_missing_model_is_an_error(root, project_of) -> None:
    project = project_of(root)
    page = write_reports(read_comparison(project), root).read_text()
    assert "Not measured yet" not in page
    (root / "results" / next(iter(project.models)) / "metrics.json").unlink()
    with pytest.raises(LatentlabError, match="is not evaluated yet"):
        read_comparison(project)
