"""Tags with the git state of the code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from latentlab import tracking
from latentlab.utils.user import user_name


def test_git_state(tmp_path: Path) -> None:
    def git(*command: str) -> str:
        user = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.hooksPath=")
        call = ["git", "-C", str(tmp_path), *user, *command]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "archive").mkdir()
    project = tmp_path / "project"
    (project / "results").mkdir(parents=True)
    assert tracking.run_tags(project) == {"git.commit": "none"}
    git("init")
    for name in ("code.py", "dvc.lock", "results/metrics.json"):
        (project / name).write_text("1")
    git("add", "project")
    git("commit", "-m", "x")
    clean = {"git.commit": git("rev-parse", "HEAD"), "git.dirty": "false"}
    assert tracking.run_tags(project) == clean
    source = {"mlflow.source.name": "latentlab repro train@vae", "mlflow.source.type": "LOCAL"}
    commit = {"mlflow.source.git.commit": clean["git.commit"], "mlflow.user": user_name()}
    assert tracking.run_tags(project, "latentlab repro train@vae") == {**clean, **source, **commit}
    (project / "dvc.lock").write_text("2")
    (project / "results" / "metrics.json").write_text("2")
    assert tracking.run_tags(project) == clean
    (project / "code.py").write_text("2")
    assert tracking.run_tags(project) == {**clean, "git.dirty": "true"}
    assert tracking.run_tags(tmp_path / "archive") == {"git.commit": "none"}


def test_a_repository_of_another_user_is_not_called_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Git says this itself if the variable is set; else only with two users."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    tags = tracking.run_tags(tmp_path, "latentlab repro")
    assert tags["git.commit"] == "unknown"
    assert "dubious ownership" in tags["git.error"]
    assert "git config --global --add safe.directory" in tags["git.error"]
    assert "mlflow.source.git.commit" not in tags
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("the commit of the code is not recorded: fatal: detected dubious")
    assert tracking.commit_of(tmp_path) == ""


def test_without_the_git_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tracking.run_tags(tmp_path) == {"git.commit": "none"}
    assert "mlflow.source.git.commit" not in tracking.run_tags(tmp_path, "latentlab repro")
    (tmp_path / ".git").mkdir()
    tags = tracking.run_tags(tmp_path)
    assert tags["git.commit"] == "unknown", "a repository that nothing can read"
    assert "git" in tags["git.error"]
