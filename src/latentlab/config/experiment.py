"""Two YAML files → one typed, seeded experiment.

params.yaml holds what all models share, configs/<name>.yaml how one model is built and trained. The
signatures of the classes are the schema: a misspelt key or a wrong type is an error before anything
runs. A key set in both files is an error too; nothing overrides anything.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.config.building import assemble, assemble_task
from latentlab.config.project import Project, find_root, packages, parse_project, read_sections
from latentlab.config.settings import TrainerSettings
from latentlab.config.yamls import read_yaml
from latentlab.contracts import LatentlabError, Task

if TYPE_CHECKING:
    from lightning import LightningModule


@dataclass(frozen=True)
class Experiment:
    """One model's experiment; `resolved` is every value behind it as plain data.

    `title` and `idea`, if its YAML has them, replace those of the model's file: they tell apart
    what differs by a number only.
    """

    name: str
    project: Project
    trainer: TrainerSettings
    model: LightningModule
    sampler: Any  # a contracts.Sampler and torch Module, or None
    resolved: dict[str, Any]


def load_experiment(name: str, facts: Mapping[str, Any], root: Path | None = None) -> Experiment:
    """Parse both files, seed everything, build model and sampler.

    `facts` come from the data, never from a YAML: image_shape and num_classes. Raises
    LatentlabError for an unknown name, a bad key or value, a key set twice, and a network that
    does not fit the images.
    """
    root = find_root(root)
    path = root / "configs" / f"{name}.yaml"
    shared, own = read_sections(root / "params.yaml", "allow"), None
    if path.is_file():
        own = read_sections(path)
    elif name in (shared.get("models") or {}):
        raise LatentlabError(
            f"params.yaml lists the model {name!r}, but configs/{name}.yaml is absent"
        )
    else:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise LatentlabError(f"unknown model {name!r}: configs/ has {known}")
    files = f"params.yaml + configs/{name}.yaml"
    allow = packages(shared.pop("allow", None))
    merged = _merge(shared, own, f"configs/{name}.yaml")
    return build(name, merged, facts, root=root, files=files, allow=allow)


def load_task(name: str, root: Path | None = None) -> tuple[Task, dict[str, Any]]:
    """configs/tasks/<name>.yaml → (the task, its resolved settings). Errors as load_experiment."""
    root = find_root(root)
    path = root / "configs" / "tasks" / f"{name}.yaml"
    allow = packages(read_yaml(root / "params.yaml").get("allow"))
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise LatentlabError(f"unknown task {name!r}: configs/tasks/ has {known}")
    content, file = read_yaml(path), f"configs/tasks/{name}.yaml"
    if unknown := sorted(set(content) - {"task"}):
        raise LatentlabError(f"{file}: unknown section {unknown[0]!r}; allowed: task")
    return assemble_task(content, files=file, allow=allow)


def build(
    name: str,
    merged: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    root: Path,
    files: str,
    allow: Sequence[str] = (),
) -> Experiment:
    """Build an experiment from plain data: two merged YAML files, or a run's stored `resolved`.

    `allow` names the packages, besides latentlab and torch, whose classes the data may name.
    """
    project = parse_project(root, merged, files)
    model, sampler, parsed = assemble(
        name, merged, facts, files=files, allow=allow, before=partial(seed_all, project.seed)
    )
    resolved = {
        "seed": project.seed,
        "data": asdict(project.data),
        "trainer": asdict(project.trainer),
        "evaluation": asdict(project.evaluation),
        **{key: str(merged[key]) for key in ("title", "idea") if key in merged},
        **parsed,
    }
    return Experiment(name, project, project.trainer, model, sampler, resolved)


def seed_all(seed: int) -> None:
    """Seed every global generator once; splits and evaluation own theirs."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  third-party code may draw from it
    torch.manual_seed(seed)


def _merge(shared: Any, own: Any, file: str, path: str = "") -> Any:
    """Union of two trees whose leaves must not meet."""
    if isinstance(shared, dict) and isinstance(own, dict):
        both = dict(shared)
        for key, value in own.items():
            at = f"{path}.{key}" if path else key
            at = at if at.isprintable() else repr(at)
            both[key] = _merge(shared[key], value, file, at) if key in shared else value
        return both
    raise LatentlabError(f"{path} is set in params.yaml and in {file}: keep it in one of them")
