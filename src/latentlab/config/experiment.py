"""Two YAML files → one typed, seeded experiment.

params.yaml holds what all models share, configs/<name>.yaml how one model is built and trained. The
signatures of the classes are the schema: a misspelt key or a wrong type is an error before anything
runs. A key set in both files is an error too; nothing overrides anything.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.config.building import assemble, assemble_task, parse
from latentlab.config.settings import EvaluationSettings, HardwareSettings, TrainerSettings
from latentlab.config.yamls import read_yaml
from latentlab.contracts import LatentlabError, Task
from latentlab.data.settings import DataSettings

if TYPE_CHECKING:
    from lightning import LightningModule

SHARED = ("seed", "data", "trainer", "evaluation", "hardware", "models", "tasks")
OWN = ("model", "sampler", "title", "idea")
SECTIONS = (*SHARED, *OWN)
SCALARS = ("seed", "allow", "title", "idea")  # all other sections are mappings
RESERVED = ("judge", "reference", "tasks")  # others write runs/ and results/ by these names


@dataclass(frozen=True)
class Project:
    """params.yaml, parsed: everything that is not about one model."""

    root: Path
    seed: int
    data: DataSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    hardware: HardwareSettings
    models: dict[str, str]
    tasks: dict[str, dict[str, str]]  # name → {"task": file, "model": whose run it reads}

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def reference(self) -> Path:
        return self.root / "data" / "reference"


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


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` (default: the working directory) with params.yaml."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise LatentlabError(f"no params.yaml in {start} or above: run inside a latentlab project")


def load_project(root: Path | None = None) -> Project:
    """Parse params.yaml. Raises LatentlabError naming the file and the key that is wrong."""
    root = find_root(root)
    content = _read(root / "params.yaml", "allow")
    _packages(content.get("allow"))
    return _project(root, content, "params.yaml")


def load_experiment(name: str, facts: Mapping[str, Any], root: Path | None = None) -> Experiment:
    """Parse both files, seed everything, build model and sampler.

    `facts` come from the data, never from a YAML: image_shape and num_classes. Raises
    LatentlabError for an unknown name, a bad key or value, a key set twice, and a network that
    does not fit the images.
    """
    root = find_root(root)
    path = root / "configs" / f"{name}.yaml"
    shared, own = _read(root / "params.yaml", "allow"), None
    if path.is_file():
        own = _read(path)
    elif name in (shared.get("models") or {}):
        raise LatentlabError(
            f"params.yaml lists the model {name!r}, but configs/{name}.yaml is absent"
        )
    else:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise LatentlabError(f"unknown model {name!r}: configs/ has {known}")
    files = f"params.yaml + configs/{name}.yaml"
    allow = _packages(shared.pop("allow", None))
    merged = _merge(shared, own, f"configs/{name}.yaml")
    return build(name, merged, facts, root=root, files=files, allow=allow)


def load_task(name: str, root: Path | None = None) -> tuple[Task, dict[str, Any]]:
    """configs/tasks/<name>.yaml → (the task, its resolved settings). Errors as load_experiment."""
    root = find_root(root)
    path = root / "configs" / "tasks" / f"{name}.yaml"
    allow = _packages(read_yaml(root / "params.yaml").get("allow"))
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise LatentlabError(f"unknown task {name!r}: configs/tasks/ has {known}")
    content, file = read_yaml(path), f"configs/tasks/{name}.yaml"
    if unknown := sorted(set(content) - {"task"}):
        raise LatentlabError(f"{file}: unknown section {unknown[0]!r}; allowed: task")
    return assemble_task(content, files=file, allow=allow)


def allowed_packages(start: Path | None = None) -> tuple[str, ...]:
    """`allow` of the params.yaml nearest to `start` (default: the working directory), if any.

    It is the user's word on whose code may run: it never comes with a config or a run folder.
    """
    try:
        return _packages(read_yaml(find_root(start) / "params.yaml").get("allow"))
    except LatentlabError:  # no project here, or the params.yaml of another program
        return ()


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
    project = _project(root, merged, files)
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


def _read(path: Path, *more: str) -> dict[str, Any]:
    content, sections = read_yaml(path), (*SECTIONS, *more)
    if "allow" in content and "allow" not in sections:
        raise LatentlabError(f"{path.name} sets `allow`: that is params.yaml's alone, and yours")
    unknown = sorted(set(content) - set(sections))
    if unknown:
        raise LatentlabError(
            f"{path.name}: unknown section {unknown[0]!r}; allowed: {', '.join(sections)}"
        )
    for key in sections:
        if key not in SCALARS and content.get(key, {}) is None:
            del content[key]  # a section whose keys are all commented out
        elif key not in SCALARS and not isinstance(content.get(key, {}), dict):
            raise LatentlabError(f"{path.name}: {key} must be a mapping, got {content[key]!r}")
    return content


def _packages(allow: Any) -> tuple[str, ...]:
    listed = allow or []
    if isinstance(listed, list) and all(map(_is_package, listed)):
        return tuple(listed)
    raise LatentlabError(
        "params.yaml: allow must list packages whose code you trust, such as [my_package],"
        f" got {allow!r}"
    )


def _is_package(entry: Any) -> bool:
    parts = entry.split(".") if isinstance(entry, str) else [""]
    return all(part.isidentifier() for part in parts) and parts[0] != "jsonargparse"


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


def _project(root: Path, content: Mapping[str, Any], files: str) -> Project:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--models", type=dict[str, str], default={})
    parser.add_argument("--tasks", type=dict[str, dict[str, str]], default={})
    sections = {
        "data": DataSettings,
        "trainer": TrainerSettings,
        "evaluation": EvaluationSettings,
        "hardware": HardwareSettings,
    }
    for section, settings in sections.items():
        parser.add_class_arguments(settings, section)
    known = {key: content[key] for key in ("seed", "models", "tasks", *sections) if key in content}
    for section, settings in sections.items():
        for field in fields(settings):  # jsonargparse lets null pass for any type
            given = known.get(section)
            null = isinstance(given, Mapping) and given.get(field.name, 0) is None
            if null and "None" not in str(field.type):
                raise LatentlabError(
                    f"{files}: {section}.{field.name} is null: it must be {field.type}; leave the"
                    " key out for its default"
                )
    made = parser.instantiate(parse(parser, known, files))
    if not 0 <= made.seed < 2**32:
        raise LatentlabError(f"{files}: seed is {made.seed}: it must be ≥ 0 and < 2^32")
    for name in made.models:
        if name in RESERVED or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
            raise LatentlabError(
                f"{files}: a model cannot be called {name!r}: use letters, digits, _ and -, and"
                f" neither of {', '.join(RESERVED)}"
            )
    for name, entry in made.tasks.items():
        if set(entry) != {"task", "model"} or entry["model"] not in {*made.models, "judge"}:
            raise LatentlabError(
                f"{files}: tasks.{name} is {entry}: it needs `task`, a file of"
                " src/latentlab/tasks, and `model`, a name under `models` or judge"
            )
    return Project(
        root,
        made.seed,
        made.data,
        made.trainer,
        made.evaluation,
        made.hardware,
        dict(made.models),
        dict(made.tasks),
    )
