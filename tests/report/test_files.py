"""The files of reports/, also while the pipeline runs."""

import json
import shutil
from contextlib import nullcontext

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
    assert "Uniform noise" in write_reports(comparison, root).read_text()


@pytest.mark.parametrize("is_new", [True, False])
def test_the_first_page_needs_no_more_than_the_prepared_images(root, project_of, is_new) -> None:
    """Nothing is measured yet, or all measurements are of other images."""
    project = project_of(root)
    project.prepared.mkdir(parents=True, exist_ok=True)
    meta = {"name": "digits", "counts": {"test": 777}, "image_shape": [3, 9, 9], "sha256": "a1b2"}
    (project.prepared / "meta.json").write_text(json.dumps(meta))
    if is_new:
        shutil.rmtree(root / "results" / "reference")
    with pytest.raises(LatentlabError) if is_new else nullcontext():
        read_comparison(project)
    outdated = {*project.models, *project.tasks, "reference"}
    comparison = read_comparison(project, outdated=outdated)
    assert (comparison.rows, comparison.evidence) == ([], {})
    page = write_reports(comparison, root).read_text()
    for text in ("No model yet on digits", "777 test", "9 × 9 color", "a1b2", "reloads itself"):
        assert text in page
    assert 'http-equiv="refresh"' in page


def test_a_page_with_a_model_does_not_reload(root, project_of) -> None:
    project = project_of(root)
    _, *others = project.models
    page = write_reports(read_comparison(project, outdated=others), root).read_text()
    assert "Not measured yet" in page
    assert "refresh" not in page
    assert "reloads itself" not in page


def test_a_complete_page_names_nothing_and_a_missing_model_is_an_error(root, project_of) -> None:
    project = project_of(root)
    page = write_reports(read_comparison(project), root).read_text()
    assert "Not measured yet" not in page
    (root / "results" / next(iter(project.models)) / "metrics.json").unlink()
    with pytest.raises(LatentlabError, match="is not evaluated yet"):
        read_comparison(project)
