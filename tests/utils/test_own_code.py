"""A stage runs the code of its own project, not that of the installed package."""

import os
import subprocess
import sys

import pytest

from latentlab.utils import own_code


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with a package latentlab of its own, whose stages print their arguments."""
    package = tmp_path / "src" / "latentlab" / "stages"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys; print('own code', *sys.argv[1:])")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_runs_the_code_of_its_folder(clone, repo) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repo / "src")}
    command = [sys.executable, "-m", "latentlab.stages", "train", "vae"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("own code train vae\n", 0), done.stderr


def test_code_that_cannot_be_used_stops(clone, monkeypatch, capsys) -> None:
    monkeypatch.setenv(own_code.TRIED, str(clone / "src"))
    with pytest.raises(SystemExit, match="2"):
        own_code.run_own_code("latentlab.stages")
    assert "Install latentlab from this folder" in capsys.readouterr().err


def test_without_another_package_nothing_happens(tmp_path, repo, monkeypatch) -> None:
    def never(*_args):
        raise AssertionError

    monkeypatch.setattr(os, "execve", never)
    for folder in (tmp_path, repo):
        monkeypatch.chdir(folder)
        own_code.run_own_code("latentlab.stages")
