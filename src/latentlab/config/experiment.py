"""Two YAML files → one typed, seeded experiment.

params.yaml has the settings that all models share. configs/<name>.yaml says how one model is built
and trained. The signatures of the classes are the schema: an unknown key or a wrong type is an
error before anything runs. A key in both files is an error too, so no value overrides another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.config.keys import nearest, require_known
from latentlab.config.parser import assemble, assemble_task
from latentlab.config.project import (
    SENTENCES,
    Project,
    find_root,
    parse_project,
    read_sections,
    read_shared,
)
from latentlab.config.seeds import Training
from latentlab.config.selection import CLASSIFIER, code_of, model_names, task_names
from latentlab.config.settings import TrainerSettings
from latentlab.config.yaml_files import read_yaml
from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:
    from lightning import LightningModule

    from latentlab.contracts import Task


@dataclass(frozen=True)
class Experiment:
    """One model with its settings. `resolved` has all of them as plain data, defaults included.

    `resolved` has `title` and `summary` if the config has them. They replace those of the model's
    file: two configs of one class may differ by a number only. Its `differs_from_the_paper`, a list
    of sentences, is added to that of the file. `tuned_on_labels` lists the settings that were
    chosen by a metric that needs labels.
    """

    name: str
    project: Project
    trainer: TrainerSettings
    model: LightningModule
    sampler: Any  # a contracts.LatentSampler and torch Module, or None
    resolved: dict[str, Any]


def load_experiment(
    name: str, data_spec: Mapping[str, Any], root: Path | None = None
) -> Experiment:
    """Parse both files, seed everything, build model and sampler.

    `name`: of a config, or such as `vae@1` for the config `vae` with the seed 1. `data_spec`:
    image_shape and num_classes, which the data decide and no YAML file. Raise LatentlabError for an
    unknown name, a wrong key or value, a key in both files, and a network that does not fit the
    images.
    """
    root = find_root(root)
    shared, allow = read_shared(root)
    return experiment_of(name, data_spec, root, shared=shared, allow=allow)


def experiment_of(
    name: str,
    data_spec: Mapping[str, Any],
    root: Path,
    *,
    shared: Mapping[str, Any],
    allow: Sequence[str],
) -> Experiment:
    """Do what `load_experiment` does, with the content of params.yaml and its `allow` as given."""
    training = Training.parse(name)
    model, seed = training.model, training.seed
    own = read_sections(_config(root, model, shared))
    _check_listed(root, model, own, shared)
    merged = _merge(dict(shared), own, f"configs/{model}.yaml")
    if seed is not None:
        merged = {**merged, "seed": seed, "more_seeds": []}
    files = f"params.yaml + configs/{model}.yaml"
    return build(name, merged, data_spec, root=root, files=files, allow=allow)


def load_task(name: str, root: Path | None = None) -> tuple[Task, dict[str, Any]]:
    """Read configs/tasks/<name>.yaml. Return the task, and its settings as plain data.

    Raise LatentlabError as `load_experiment`.
    """
    root = find_root(root)
    shared, allow = read_shared(root)
    return task_of(name, root, shared=shared, allow=allow)


def task_of(
    name: str, root: Path, *, shared: Mapping[str, Any], allow: Sequence[str]
) -> tuple[Task, dict[str, Any]]:
    """Do what `load_task` does, with the content of params.yaml and its `allow` as given."""
    file = f"configs/tasks/{name}.yaml"
    if not (root / file).is_file():
        raise LatentlabError(_no_config(name, "task", task_names(root)))
    content = read_yaml(root / file)
    require_known(content, ("model", "task"), file)
    _check_listed_task(root, name, content, shared)
    return assemble_task(content.get("task"), files=file, allow=allow)


def build(
    name: str,
    merged: Mapping[str, Any],
    data_spec: Mapping[str, Any],
    *,
    root: Path,
    files: str,
    allow: Sequence[str] = (),
) -> Experiment:
    """Build an experiment from plain data: two merged YAML files, or `resolved` of a run folder.

    `allow`: packages, besides latentlab and torch, whose classes the data may name.
    """
    project = parse_project(root, merged, files)
    model, sampler, parsed = assemble(
        name, merged, data_spec, files=files, allow=allow, before=partial(seed_all, project.seed)
    )
    if project.trainer.compile:
        _require_single_backward(model)
    resolved = {
        "seed": project.seed,
        "data": asdict(project.data),
        "trainer": asdict(project.trainer),
        "evaluation": asdict(project.evaluation),
        **{key: str(merged[key]) for key in ("title", "summary") if key in merged},
        **_sentences(merged, files),
        **parsed,
    }
    return Experiment(name, project, project.trainer, model, sampler, resolved)


def _sentences(merged: Mapping[str, Any], files: str) -> dict[str, list[str]]:
    """The lists of sentences of a config, without the empty ones. Raise LatentlabError."""
    found = {key: merged.get(key) or [] for key in SENTENCES}
    for key, given in found.items():
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise LatentlabError(f"{files}: {key} is {given!r}; it must be a list of sentences")
    return {key: given for key, given in found.items() if given}


def _require_single_backward(model: LightningModule) -> None:
    """Raise LatentlabError for a loss with a gradient penalty, which cannot be compiled."""
    from latentlab.contracts import DoubleBackward

    if isinstance(model, DoubleBackward) and model.needs_double_backward:
        raise LatentlabError(
            f"trainer.compile is true, but the loss of {type(model).__name__} has a gradient"
            " penalty or R1, and torch.compile cannot differentiate a gradient: set trainer.compile"
            " to false, or r1_gamma to 0 and, for WGAN, clip to a number"
        )


def seed_all(seed: int) -> None:
    """Seed the global generators. Splits and evaluation have generators of their own."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  third-party code may draw from it
    torch.manual_seed(seed)


def _config(root: Path, name: str, shared: Mapping[str, Any]) -> Path:
    """Return the path of a config. Raise LatentlabError if there is none."""
    path = root / "configs" / f"{name}.yaml"
    if path.is_file():
        return path
    if name in (shared.get("models") or {}):
        raise LatentlabError(
            f"params.yaml lists the model {name!r}, but there is no configs/{name}.yaml: write it,"
            " or remove the line"
        )
    raise LatentlabError(_no_config(name, "model", [*model_names(root), CLASSIFIER]))


def _no_config(name: str, what: str, known: list[str]) -> str:
    close = nearest(name, known)
    hint = f"did you mean {close!r}? " if close else ""
    return f"unknown {what} {name!r}: {hint}configs/ has {', '.join(known) or 'none'}"


def _check_listed(root: Path, name: str, own: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    """Raise LatentlabError if params.yaml names another file than that of the model's class."""
    listed = (shared.get("models") or {}).get(name)
    _check_path(f"models.{name}", listed, code_of(root, own.get("model")), name)


def _check_listed_task(
    root: Path, name: str, own: Mapping[str, Any], shared: Mapping[str, Any]
) -> None:
    """Raise LatentlabError if params.yaml names another file, or another model, than the config."""
    listed = (shared.get("tasks") or {}).get(name)
    if not isinstance(listed, Mapping):
        return
    if listed.get("model") != own.get("model"):
        raise LatentlabError(
            f"params.yaml: tasks.{name}.model is {listed.get('model')!r}, but"
            f" {own.get('model')!r} in configs/tasks/{name}.yaml: write the same model in both"
        )
    code = code_of(root, own.get("task"))
    _check_path(f"tasks.{name}.code", listed.get("code"), code, f"tasks/{name}")


def _check_path(key: str, listed: Any, code: str | None, config: str) -> None:
    """DVC watches the listed path; a wrong one would miss changes. A folder around it is fine."""
    if code is None and str(listed).startswith("configs/"):
        code = f"configs/{config}.yaml"  # a class of an installed package
    if isinstance(listed, str) and code and not Path(code).is_relative_to(listed):
        raise LatentlabError(
            f"params.yaml: {key} is {listed!r}, but its file is {code}: write {code}"
        )


def _merge(shared: Any, own: Any, file: str, path: str = "") -> Any:
    """Return the union of two trees. Raise LatentlabError for a leaf in both."""
    if isinstance(shared, dict) and isinstance(own, dict):
        both = dict(shared)
        for key, value in own.items():
            at = f"{path}.{key}" if path else key
            at = at if at.isprintable() else repr(at)
            both[key] = _merge(shared[key], value, file, at) if key in shared else value
        return both
    raise LatentlabError(f"{path} is set in params.yaml and in {file}: remove one of them")
