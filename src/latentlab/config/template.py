"""`latentlab init`: write the files of a new project, which uses the installed package.

The files are those of latentlab's own repository. setup.py copies them into the wheel, as
latentlab/template; in a checkout they are read from the root of the repository.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from latentlab.config.selection import select
from latentlab.config.yaml_files import read_yaml
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_atomic

COPIED = ("params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore")
SOURCES = "src/latentlab"  # dvc.yaml of a checkout watches it; a project watches its requirements
REQUIREMENTS = "requirements.txt"


def write_project(folder: Path, *, version: str) -> None:
    """Write a project into `folder`, which may have other files: the pipeline runs there.

    `version`: of latentlab, for requirements.txt. DVC works without git, unless the folder is the
    root of a git repository. Raise LatentlabError if a file of the project is there already.
    """
    source = _template()
    for name in (*COPIED, "dvc.yaml", "configs", REQUIREMENTS):
        if (folder / name).exists():
            raise LatentlabError(f"{folder / name} exists already: choose another folder")
    for name in ("data/images", ".dvc"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(source / name, folder / name)
    shutil.copytree(source / "configs", folder / "configs")
    if not (folder / ".git").exists():
        (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    write_atomic(folder / REQUIREMENTS, f"latentlab=={version}\n".encode())
    write_atomic(folder / "dvc.yaml", pipeline(source / "dvc.yaml").encode())
    listed = read_yaml(source / "params.yaml")
    select(folder, [*listed["models"], *listed["tasks"]])


def _template() -> Path:
    package = Path(__file__).parents[1]
    for folder in (package / "template", package.parents[1]):
        if (folder / "dvc.yaml").is_file() and (folder / "configs").is_dir():
            return folder
    raise LatentlabError(f"{package} has no template of a project: install latentlab again")


def pipeline(path: Path) -> str:
    """Return dvc.yaml with requirements.txt in place of the sources of latentlab."""
    content = read_yaml(path)
    for stage in content["stages"].values():
        stage = stage.get("do", stage)
        stage["deps"] = _without_sources(stage["deps"])
    return yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)


def _without_sources(deps: list[Any]) -> list[Any]:
    return [REQUIREMENTS, *(dep for dep in deps if not str(dep).startswith(SOURCES))]
