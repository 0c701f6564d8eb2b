"""`latentlab init`: a project of the installed package, from files that exist once."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from latentlab.config import load_project
from latentlab.config.template import require_version, write_project
from latentlab.config.yaml_edit import set_values
from latentlab.utils.errors import LatentlabError

BUILT = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
COPIED = (
    *(".dvcignore", ".gitattributes", ".gitignore"),
    *(".dvc/config", ".dvc/.gitignore", ".dvc/plots/curves.json"),
)


def check_project(root, repo):
    """The files of the repository, but for the code: a project watches requirements.txt instead."""
    ours = {str(path.relative_to(repo)) for path in (repo / "configs").rglob("*.yaml")}
    theirs = {str(path.relative_to(root)) for path in (root / "configs").rglob("*.yaml")}
    assert ours == theirs
    for name in [*ours, *COPIED]:
        assert (root / name).read_bytes() == (repo / name).read_bytes(), name
    assert (root / "requirements.txt").read_text() == "latentlab==0.1.0\n"
    assert (root / "data" / "images" / ".gitkeep").is_file()
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
    """The folder `bin` of a fresh environment with the wheel of this checkout.

    Its other packages are those of the running environment, so nothing is downloaded.
    """
    if not all(map(find_spec, ("pip", "setuptools"))):
        pytest.skip("this environment cannot build a wheel")
    source, home = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("fresh")
    (source / ".dvc" / "plots").mkdir(parents=True)
    for name in (*BUILT, *COPIED, "params.yaml", "dvc.yaml"):
        shutil.copy(repo / name, source / name)
    for name in ("configs", "src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(repo / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "dist"]
    run([*pip, "wheel", *built, "."], source)
    run([sys.executable, "-m", "venv", "--without-pip", home], source)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = (source / "dist").glob("latentlab-*.whl")
    fresh = ["--python", home / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index"]
    run([*pip, *fresh, wheel], source)
    return home / "bin"


def run(command, folder, code=0) -> str:
    """Run a command in a folder. Return what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"DVC_NO_ANALYTICS": "true", "COLUMNS": "100"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_all_files_of_the_package_and_the_template(installed, repo):
    code = "import latentlab, pathlib; print(pathlib.Path(latentlab.__file__).parent)"
    folder = Path(run([installed / "python", "-c", code], installed).strip())
    assert folder.is_relative_to(installed.parent)

    def files(top):
        return {
            path.relative_to(top).as_posix()
            for path in top.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    template = {f"template/{name}" for name in ("params.yaml", "dvc.yaml", *COPIED)}
    configs = {f"template/configs/{name}" for name in files(repo / "configs")}
    assert files(folder) == files(repo / "src" / "latentlab") | template | configs
    (site,) = installed.parent.glob("lib/python*/site-packages")
    assert not (site / "tests").exists()


OWN_MODEL = """from latentlab.models.linear_ae import LinearAE


class MyAE(LinearAE):
    pass
"""
TINY = {
    "num_samples": 20,
    "inversion_num_images": 5,
    "inversion_num_starts": 5,
    "inversion_steps": 1,
    "probe_max_images": 100,
}


def make_small(root):
    """Digits, two epochs, short evaluations, and a model of the user in a file of the project."""
    (root / "my_models.py").write_text(OWN_MODEL)
    config = yaml.safe_load((root / "configs" / "linear_ae.yaml").read_text())
    config["model"]["class_path"] = "my_models.MyAE"
    config["trainer"]["max_epochs"] = 2
    (root / "configs" / "my_ae.yaml").write_text(yaml.safe_dump(config))
    set_values(root / "configs" / "vae.yaml", {"trainer.max_epochs": 2})
    set_values(root / "configs" / "classifier.yaml", {"trainer.max_epochs": 2})
    values = {f"evaluation.{key}": value for key, value in TINY.items()}
    values |= {"data.name": "digits", "data.test_fraction": 0.05, "trainer.num_validations": 1}
    values |= {"hardware.accelerator": "cpu", "allow": ["my_models"]}
    set_values(root / "params.yaml", values)


def test_the_tour_of_the_installed_package(installed, repo, tmp_path):
    latentlab, root = installed / "latentlab", tmp_path / "project"
    assert "0.1.0" in run([latentlab, "--version"], tmp_path)
    assert "latentlab repro" in run([latentlab, "init", "project"], tmp_path)
    check_project(root, repo)
    make_small(root)
    assert run([latentlab, "select", "vae", "my_ae"], root) == "models: vae, my_ae\ntasks: none\n"
    assert load_project(root).models == {"vae": "configs/vae.yaml", "my_ae": "my_models.py"}
    run([latentlab, "repro"], root)
    assert "my_ae" in (root / "reports" / "index.html").read_text()
    assert "my_ae" in run([latentlab, "results"], root)
    assert run([installed / "python", "-m", "dvc", "status", "--json"], root) == "{}\n"
    assert "all stages are up to date" in run([latentlab, "repro"], root)
    (root / "requirements.txt").write_text("latentlab==9.9\n")
    said = run([latentlab, "repro"], root, code=2)
    assert "says latentlab 9.9, but 0.1.0 is installed" in said


@pytest.mark.parametrize(
    "content", [None, "", "latentlab\n", "latentlab==0.1.0\n", "numpy==2.0\nlatentlab == 0.1.0\n"]
)
def test_the_installed_version_may_be_that_of_the_project(tmp_path, content):
    if content is not None:
        (tmp_path / "requirements.txt").write_text(content)
    require_version(tmp_path, "0.1.0")


def test_another_version_than_that_of_the_project_is_refused(project, monkeypatch):
    root = project.root
    (root / "requirements.txt").write_text("latentlab==9.9\n")
    with pytest.raises(LatentlabError, match=r"says latentlab 9.9, but 0.1.0 is installed"):
        require_version(root, "0.1.0")
    process = subprocess.run(
        [sys.executable, "-m", "latentlab.stages", "prepare"],
        cwd=root, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 2
    assert "write latentlab==0.1.0 into requirements.txt" in process.stderr
    assert not (root / "data" / "prepared").exists()


def test_files_of_editors_are_no_change_of_a_stage(small):
    """DVC hashes all files of a folder that a stage depends on, but for those of .dvcignore."""
    small.add_pipeline()
    inside = ("src/latentlab/models", "data/images")
    names = ("vae.py~", ".vae.py.swp", ".#vae.py", "#vae.py#", ".DS_Store", "Thumbs.db", "._1.png")
    left = [f"{folder}/{name}" for folder in inside for name in names]
    left.append("src/latentlab/models/.ipynb_checkpoints/vae-checkpoint.py")
    kept = ["src/latentlab/models/vae.py", "data/images/1.png", "data/images/a#1.png"]
    for name in [*left, *kept]:
        (small.root / name).parent.mkdir(exist_ok=True)
        (small.root / name).touch()
    assert small.dvc("check-ignore", *left, *kept).splitlines() == left


def test_a_clone_has_the_same_bytes_with_any_line_ends_of_git(repo, tmp_path):
    """`core.autocrlf` is on by default on Windows."""
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    files = {"params.yaml": b"seed: 0\nmore_seeds: []\n", "x.png": b"\x89PNG\r\n\x1a\n\x00\n\x01"}
    for name, content in files.items():
        (source / name).write_bytes(content)
    shutil.copy(repo / ".gitattributes", source)
    user = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.hooksPath=")
    run(["git", *user, "init", "-q"], source)
    run(["git", *user, "add", "."], source)
    run(["git", *user, "commit", "-q", "-m", "x"], source)
    run(["git", "clone", "-q", "-c", "core.autocrlf=true", source, clone], tmp_path)
    assert {name: (clone / name).read_bytes() for name in files} == files


def test_a_folder_under_git_keeps_its_line_ends(tmp_path):
    (tmp_path / ".gitattributes").write_text("* -text\n")
    write_project(tmp_path, version="0.1.0")
    assert (tmp_path / ".gitattributes").read_text() == "* -text\n"
