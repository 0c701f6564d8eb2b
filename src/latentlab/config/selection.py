"""The sections `models` and `tasks` of params.yaml, written from configs/.

configs/ lists everything there is. These two sections list what runs, in the form that DVC loops
over. The path of a model or a task is the file whose change runs it again:

    vae: src/latentlab/models/vae.py     in a checkout of latentlab
    wae: my_models/wae.py                a model of the user (params.yaml: allow: [my_models])
    vae: configs/vae.yaml                a model of the installed package
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from latentlab.config.keys import nearest
from latentlab.config.yaml_edit import replace_sections
from latentlab.config.yaml_files import read_yaml
from latentlab.utils.errors import LatentlabError

CLASSIFIER = "classifier"  # has a config and a stage of its own


def model_names(root: Path) -> list[str]:
    """Names of the models in configs/, sorted."""
    return sorted(p.stem for p in (root / "configs").glob("*.yaml") if p.stem != CLASSIFIER)


def task_names(root: Path) -> list[str]:
    """Names of the tasks in configs/tasks/, sorted."""
    return sorted(path.stem for path in (root / "configs" / "tasks").glob("*.yaml"))


def select(root: Path, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Rewrite the two sections of params.yaml. Return the names of its models and of its tasks.

    `names`: models and tasks, or "all". A task brings the model whose run it reads. Comments of
    params.yaml stay, except those inside of the two sections. Raise LatentlabError for a name that
    configs/ does not have.
    """
    known_models, known_tasks = model_names(root), task_names(root)
    wanted = list(names)
    if "all" in wanted:
        wanted = [*known_models, *known_tasks]
    for name in wanted:
        if name not in {*known_models, *known_tasks}:
            raise LatentlabError(_unknown(name, known_models, known_tasks))
    tasks = {name: task_entry(root, name) for name in wanted if name in known_tasks}
    wanted += [entry["model"] for entry in tasks.values()]
    models = {name: model_entry(root, name) for name in wanted if name in known_models}
    replace_sections(root / "params.yaml", {"models": models, "tasks": tasks})
    return list(models), list(tasks)


def model_entry(root: Path, name: str) -> str:
    """Return the path that stands for a model in params.yaml, relative to the project."""
    config = f"configs/{name}.yaml"
    return code_of(root, read_yaml(root / config).get("model")) or config


def task_entry(root: Path, name: str) -> dict[str, str]:
    """Return the entry of a task in params.yaml: the path of its code, and its model."""
    config = f"configs/tasks/{name}.yaml"
    content = read_yaml(root / config)
    model = content.get("model")
    if model not in {*model_names(root), CLASSIFIER}:
        raise LatentlabError(
            f"{config}: model is {model!r}; it must be the name of a config, or {CLASSIFIER}"
        )
    return {"code": code_of(root, content.get("task")) or config, "model": str(model)}


def code_of(root: Path, spec: Any) -> str | None:
    """Return the file of the class that `spec` names, if it lies in the project; else None."""
    name = spec.get("class_path") if isinstance(spec, Mapping) else None
    module = str(name).rpartition(".")[0].replace(".", "/")
    for path in (f"src/{module}.py", f"{module}.py"):
        if module and (root / path).is_file():
            return path
    return None


def _unknown(name: str, models: list[str], tasks: list[str]) -> str:
    close = nearest(name, [*models, *tasks])
    listed = f"models: {', '.join(models) or 'none'}; tasks: {', '.join(tasks) or 'none'}"
    return f"configs/ has no model or task {name!r}; " + (
        f"did you mean {close!r}?" if close else listed
    )
