"""`latentlab init`: a project of the installed package, from files that exist once."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from latentlab.config import load_project
from latentlab.config.template import write_project
from latentlab.utils.errors import LatentlabError

BUILT = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
COPIED = (".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore")


def check_project(root, repo):
    """The files of the repository, but for the code: a project watches requirements.txt instead."""
    ours = {str(path.relative_to(repo)) for path in (repo / "configs").rglob("*.yaml")}
    theirs = {str(path.relative_to(root)) for path in (root / "configs").rglob("*.yaml")}
    assert ours == theirs
    for name in [*ours, *COPIED]:
        assert (root / name).read_bytes() == (repo / name).read_bytes(), name
    assert (root / "requirements.txt").read_text() == "latentlab==0.1.0\n"
    assert (root / "data" / "images").is_dir()
    listed = {name: yaml.safe_load((path / "params.yaml").read_text()) for name, path in
              (("ours", repo), ("theirs", root))}  # fmt: skip
    assert list(listed["theirs"]["models"]) == list(listed["ours"]["models"])
    for name, path in listed["theirs"].pop("models").items():
        assert path == f"configs/{name}.yaml"
    for name, entry in listed["theirs"].pop("tasks").items():
        ours = listed["ours"]["tasks"][name]
        assert entry == {"code": f"configs/tasks/{name}.yaml", "model": ours["model"]}
    del listed["ours"]["models"], listed["ours"]["tasks"]
    assert listed["theirs"] == listed["ours"]
    stages = [yaml.safe_load((path / "dvc.yaml").read_text())["stages"] for path in (repo, root)]
    assert list(stages[0]) == list(stages[1])
    for name, stage in stages[0].items():
        mine, other = stage.get("do", stage), stages[1][name].get("do", stages[1][name])
        deps = [dep for dep in mine.pop("deps") if not dep.startswith("src/latentlab")]
        assert other.pop("deps") == ["requirements.txt", *deps]
        assert mine == other


def test_a_project_of_a_checkout(repo, tmp_path):
    write_project(tmp_path / "new" / "project", version="0.1.0")
    check_project(tmp_path / "new" / "project", repo)
    assert load_project(tmp_path / "new" / "project").models["vae"] == "configs/vae.yaml"


def test_dvc_uses_git_only_at_the_root_of_a_repository(tmp_path):
    for name in ("plain", "git"):
        (tmp_path / name).mkdir()
    (tmp_path / "git" / ".git").mkdir()
    for name in ("plain", "git"):
        write_project(tmp_path / name, version="0.1.0")
    local = tmp_path / "plain" / ".dvc" / "config.local"
    assert local.read_text() == "[core]\n    no_scm = true\n"
    assert not (tmp_path / "git" / ".dvc" / "config.local").exists()


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "requirements.txt", "configs"])
def test_nothing_is_overwritten(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("stays")
    with pytest.raises(LatentlabError, match=rf"{name} exists already: choose another folder"):
        write_project(tmp_path, version="0.1.0")
    assert {path.name for path in tmp_path.iterdir()} == {name, "notes.txt"}


@pytest.fixture(scope="module")
def installed(repo, tmp_path_factory):
    """A folder with the wheel of this checkout installed, for PYTHONPATH."""
    if not all(map(find_spec, ("pip", "setuptools"))):
        pytest.skip("this environment cannot build a wheel")
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / ".dvc").mkdir()
    for name in (*BUILT, *COPIED, "params.yaml", "dvc.yaml"):
        shutil.copy(repo / name, source / name)
    for name in ("configs", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(repo / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    subprocess.run([*pip, *options, "."], cwd=source, check=True, capture_output=True, timeout=300)
    return site


@pytest.mark.slow
def test_a_project_of_the_installed_package_runs(installed, repo, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def python(*argv, cwd):
        command = [sys.executable, *argv]
        process = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    where = python("-c", "import latentlab; print(latentlab.__file__)", cwd=tmp_path)
    assert where.strip() == str(installed / "latentlab" / "__init__.py")
    said = python("-m", "latentlab.cli", "init", "project", cwd=tmp_path)
    assert "latentlab repro" in said
    root = tmp_path / "project"
    check_project(root, repo)
    said = python("-m", "latentlab.stages", "prepare", cwd=root)
    assert "prepared mnist_5k: 3500 train, 500 val, 1000 test" in said
    status = python("-m", "dvc", "status", "--json", cwd=root)
    assert "train@vae" in status
    assert "changed deps" in status
    said = python("-m", "latentlab.cli", "select", "vae", "gan_1d", cwd=root)
    assert said == "models: vae\ntasks: gan_1d\n"
    assert load_project(root).models == {"vae": "configs/vae.yaml"}
