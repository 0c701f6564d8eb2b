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

COPIED = (
    *("params.yaml", ".dvcignore", ".gitignore"),
    *(".dvc/config", ".dvc/.gitignore", ".dvc/plots/curves.json"),
)
LINE_ENDS = ".gitattributes"  # a folder under git may have its own
SOURCES = "src/latentlab"  # dvc.yaml of a checkout watches it; a project watches its requirements
REQUIREMENTS = "requirements.txt"


def write_project(folder: Path, *, version: str) -> None:
    """Write a project into `folder`, which may have other files: the pipeline runs there.

    `version`: of latentlab, for requirements.txt. DVC works without git, unless the folder is the
    root of a git repository. Raise LatentlabError if a file of the project is there already.
    """
    source = _template()
    require_free(folder)
    for name in ("data/images", ".dvc/plots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # git keeps no empty folder, and DVC runs queued experiments in a copy that git makes
    (folder / "data" / "images" / ".gitkeep").touch()
    for name in COPIED:
        shutil.copyfile(source / name, folder / name)
    if not (folder / LINE_ENDS).exists():
        shutil.copyfile(source / LINE_ENDS, folder / LINE_ENDS)
    shutil.copytree(source / "configs", folder / "configs")
    if not (folder / ".git").exists():
        (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    write_atomic(folder / REQUIREMENTS, f"latentlab=={version}\n".encode())
    write_atomic(folder / "dvc.yaml", pipeline(source / "dvc.yaml").encode())
    listed = read_yaml(source / "params.yaml")
    select(folder, [*listed["models"], *listed["tasks"]])


def require_free(folder: Path) -> None:
    """Raise LatentlabError if `folder` is a file, or has files of a project already."""
    if folder.exists() and not folder.is_dir():
        raise LatentlabError(f"{folder} is a file: choose another name for the project's folder")
    for name in (*COPIED, "dvc.yaml", "configs", REQUIREMENTS):
        if (folder / name).exists():
            raise LatentlabError(f"{folder / name} exists already: choose another folder")


def require_version(root: Path, installed: str) -> None:
    """Raise LatentlabError if requirements.txt of a project asks for another latentlab.

    DVC watches this file in place of the code, so the installed code must be that version. In a
    checkout of latentlab, which has no such file, DVC watches the code itself.
    """
    path = root / REQUIREMENTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        name, pinned, version = line.partition("==")
        if pinned and name.strip() == "latentlab" and version.strip() != installed:
            wanted = version.strip()
            raise LatentlabError(
                f"{REQUIREMENTS} of this project says latentlab {wanted}, but {installed} is"
                f" installed. To keep the results: pip install latentlab=={wanted}. To run"
                f" everything again with {installed}: write latentlab=={installed} into"
                f" {REQUIREMENTS}"
            )


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
