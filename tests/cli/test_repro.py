"""The report page while a pipeline runs."""

import webbrowser

import pytest

from latentlab.cli.repro import Page, show_places
from latentlab.config import load_project


@pytest.fixture
def opened(monkeypatch):
    """The addresses that were shown in the browser."""
    addresses = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def test_the_page_is_opened_once(fork, opened) -> None:
    path = fork.root / "reports" / "index.html"
    path.unlink()
    page = Page(load_project(fork.root), to_open=True)
    page.update("train@linear_ae", set())
    assert not path.exists()
    page.update("evaluate@linear_ae", {"evaluate@vae", "evaluate@dcgan", "report"})
    assert "No model yet" not in path.read_text()
    page.update("evaluate@vae", {"evaluate@dcgan", "report"})
    assert opened == [path.as_uri()]


def test_the_first_page_comes_with_the_prepared_images(fork, opened) -> None:
    path = fork.root / "reports" / "index.html"
    path.unlink()
    project = load_project(fork.root)
    stages = {f"evaluate@{name}" for name in project.models}
    Page(project, to_open=True).update("prepare", {*stages, "reference", "report"})
    assert "No model yet" in path.read_text()
    assert "Uniform noise" not in path.read_text(), "the baselines are of other images"
    assert opened == [path.as_uri()]
    Page(project, to_open=False).update("reference", {*stages, "report"})
    assert "Uniform noise" in path.read_text()


def test_the_page_is_not_opened_unless_wanted(fork, opened) -> None:
    Page(load_project(fork.root), to_open=False).open()
    assert opened == []


def test_results_that_cannot_be_read_leave_the_old_page(fork, opened) -> None:
    path = fork.root / "reports" / "index.html"
    before = path.read_bytes()
    (fork.root / "results" / "vae" / "card.json").write_text("{")
    Page(load_project(fork.root), to_open=True).update("evaluate@vae", set())
    assert path.read_bytes() == before
    assert opened == []


def test_the_page_and_the_runs_are_named_at_the_end(tmp_path, monkeypatch, capsys) -> None:
    show_places(tmp_path)
    assert capsys.readouterr().out == (
        "MLflow, with the columns FID, KID, MSE and probe: python -m latentlab.tracking ui\n"
    )
    page = tmp_path / "reports" / "index.html"
    page.parent.mkdir()
    page.touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    show_places(tmp_path)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"page: {page}"
    assert second.endswith("probe: http://127.0.0.1:9"), "a server that does not answer"
