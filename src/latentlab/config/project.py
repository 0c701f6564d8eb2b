"""params.yaml → a typed Project: everything that is not about one model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from latentlab.config.building import parse
from latentlab.config.settings import EvaluationSettings, HardwareSettings, TrainerSettings
from latentlab.config.yamls import read_yaml
from latentlab.contracts import LatentlabError
from latentlab.data.settings import DataSettings

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
    content = read_sections(root / "params.yaml", "allow")
    packages(content.get("allow"))
    return parse_project(root, content, "params.yaml")


def allowed_packages(start: Path | None = None) -> tuple[str, ...]:
    """`allow` of the params.yaml nearest to `start` (default: the working directory), if any.

    It is the user's word on whose code may run: it never comes with a config or a run folder.
    """
    try:
        return packages(read_yaml(find_root(start) / "params.yaml").get("allow"))
    except LatentlabError:  # no project here, or the params.yaml of another program
        return ()


def read_sections(path: Path, *more: str) -> dict[str, Any]:
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


def packages(allow: Any) -> tuple[str, ...]:
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


def parse_project(root: Path, content: Mapping[str, Any], files: str) -> Project:
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
