"""params.yaml → Project: the settings that all models share, and which models and tasks run."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from latentlab.config.allowed import packages
from latentlab.config.goals import GOALS
from latentlab.config.keys import require_known
from latentlab.config.parser import parse_settings
from latentlab.config.seeds import check_seeds
from latentlab.config.settings import EvaluationSettings, HardwareSettings, TrainerSettings
from latentlab.config.yaml_files import read_yaml
from latentlab.data.settings import DataSettings
from latentlab.utils.errors import LatentlabError

SETTINGS = {
    "data": DataSettings,
    "trainer": TrainerSettings,
    "evaluation": EvaluationSettings,
    "hardware": HardwareSettings,
}
SENTENCES = ("differs_from_the_paper", "tuned_on_labels")  # lists in a config, for its model card
OWN = ("model", "sampler", "title", "summary", *SENTENCES)  # sections of a config
SECTIONS = ("seed", "more_seeds", "goal", "on_unsuitable", *SETTINGS, "models", "tasks", *OWN)
# all other sections are mappings
NO_MAPPINGS = ("seed", "more_seeds", "goal", "on_unsuitable", "allow", *OWN[2:])
NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]*"  # a name is a folder, a stage of DVC and a run
ON_UNSUITABLE = ("error", "skip")
RESERVED = ("classifier", "data", "reference", "tasks")  # have folders in runs/ and results/


@dataclass(frozen=True)
class Project:
    """params.yaml, parsed.

    `models`: name → path of its code. `tasks`: name → {"code": path, "model": name of the model}.
    `goal`: a key of goals.GOALS, whose columns the report page shows first; None without one.
    `more_seeds`: of the trainings of each model after the first, which has `seed`.
    `on_unsuitable`: for models and tasks that need other data, such as labels: "error", or "skip"
    to leave them out, and to say so in the results.
    """

    root: Path
    seed: int
    data: DataSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    hardware: HardwareSettings
    models: dict[str, str]
    tasks: dict[str, dict[str, str]]
    goal: str | None = None
    more_seeds: tuple[int, ...] = ()
    on_unsuitable: str = "error"

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def reference(self) -> Path:
        return self.root / "data" / "reference"


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder with params.yaml, at or above `start`.

    Default: the working directory. Raise LatentlabError if there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise LatentlabError(
        f"no params.yaml in {start} or above: run this inside of a latentlab project"
        " (`latentlab init` makes one)"
    )


def load_project(root: Path | None = None) -> Project:
    """Parse params.yaml. Raise LatentlabError that names the key that is wrong."""
    root = find_root(root)
    shared, _ = read_shared(root)
    return parse_project(root, shared, "params.yaml")


def read_shared(root: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the sections of params.yaml, and the packages that `allow` lists."""
    content = read_sections(root / "params.yaml", ("allow", *SECTIONS))
    return content, _importable(content.pop("allow", None), root)


def allowed_packages(start: Path | None = None) -> tuple[str, ...]:
    """Return `allow` of the params.yaml nearest to `start` (default: the working directory).

    The user decides whose code may run, so a config or a run folder never brings `allow` along.
    """
    try:
        root = find_root(start)
        return _importable(read_yaml(root / "params.yaml").get("allow"), root)
    except LatentlabError:  # no project here, or the params.yaml of another program
        return ()


def _importable(allow: Any, root: Path) -> tuple[str, ...]:
    """Return the packages of `allow`. Packages in the project's folder can then be imported."""
    allowed = packages(allow)
    if allowed and str(root) not in sys.path:
        sys.path.append(str(root))  # last: an installed package comes first
    return allowed


def read_sections(path: Path, sections: tuple[str, ...] = SECTIONS) -> dict[str, Any]:
    """Read a YAML file of sections. Raise LatentlabError for an unknown or malformed section.

    A section whose keys are all commented out (null) counts as absent.
    """
    content = read_yaml(path)
    if "allow" in content and "allow" not in sections:
        raise LatentlabError(
            f"{path.name} sets `allow`: only params.yaml may. Move it there if you trust the code"
        )
    require_known(content, sections, path.name)
    for key in [key for key in content if key not in NO_MAPPINGS]:
        if content[key] is None:
            del content[key]
        elif not isinstance(content[key], dict):
            raise LatentlabError(f"{path.name}: {key} is {content[key]!r}; it must be a mapping")
    return content


def parse_project(root: Path, content: Mapping[str, Any], files: str) -> Project:
    """Parse plain data: params.yaml, its union with a config, or the stored settings of a run."""
    for section, settings in SETTINGS.items():
        _check_section(content.get(section, {}), section, settings, files)
    types: dict[str, Any] = {
        "seed": (int,),
        "more_seeds": (list[int], []),
        "models": (dict[str, str], {}),
        "tasks": (dict[str, dict[str, str]], {}),
    }
    known = {key: content[key] for key in (*types, *SETTINGS) if key in content}
    parsed = parse_settings(known, types, SETTINGS, files)
    more_seeds = _more_seeds(parsed, files)
    models, tasks = dict(parsed.models), dict(parsed.tasks)
    _check_models(models, files)
    _check_tasks(tasks, models, files)
    goal = content.get("goal")
    if goal is not None and goal not in GOALS:
        raise LatentlabError(f"{files}: goal is {goal!r}; choose one of: {', '.join(GOALS)}, null")
    on_unsuitable = content.get("on_unsuitable", ON_UNSUITABLE[0])
    if on_unsuitable not in ON_UNSUITABLE:
        choices = ", ".join(ON_UNSUITABLE)
        raise LatentlabError(
            f"{files}: on_unsuitable is {on_unsuitable!r}; choose one of: {choices}"
        )
    values = {section: getattr(parsed, section) for section in SETTINGS}
    return Project(
        root,
        parsed.seed,
        models=models,
        tasks=tasks,
        goal=goal,
        more_seeds=more_seeds,
        on_unsuitable=on_unsuitable,
        **values,
    )


def _more_seeds(parsed: Any, files: str) -> tuple[int, ...]:
    if parsed.more_seeds is None:  # jsonargparse accepts null for every type; DVC does not
        raise LatentlabError(
            f"{files}: more_seeds is null; it must be a list, such as [1, 2], or [] for one"
            " training of each model"
        )
    check_seeds(parsed.seed, parsed.more_seeds, files)
    return tuple(parsed.more_seeds)


def _check_section(given: Any, section: str, settings: type, files: str) -> None:
    if not isinstance(given, Mapping):
        return  # the parser reports it
    types = {field.name: str(field.type) for field in fields(settings)}
    require_known(given, types, f"{files}: {section}")
    for field in fields(settings):  # a section in a section, such as hardware.cluster
        if isinstance(factory := field.default_factory, type) and is_dataclass(factory):
            _check_section(given.get(field.name, {}), f"{section}.{field.name}", factory, files)
    for key, value in given.items():  # jsonargparse accepts null for every type
        if value is None and "None" not in types[key]:
            raise LatentlabError(
                f"{files}: {section}.{key} is null; it must be {types[key]}. Remove the key to get"
                " its default"
            )
        if isinstance(value, str) and {"int", "float"} & set(types[key].split(" | ")):
            _refuse_quoted(value, f"{files}: {section}.{key}")


def _refuse_quoted(text: str, key: str) -> None:
    """Raise LatentlabError for a number in quotes: some readers would convert it, others not."""
    for number in (float, partial(int, base=0)):
        with suppress(ValueError):
            number(text)
            raise LatentlabError(f"{key} is the text {text!r}. Write the number without quotes")


def _check_models(models: Mapping[str, str], files: str) -> None:
    for name in models:
        if name in RESERVED or not re.fullmatch(NAME, name):
            raise LatentlabError(
                f"{files}: a model cannot have the name {name!r}: use letters, digits, _ and -,"
                f" and none of {', '.join(RESERVED)}"
            )


def _check_tasks(tasks: Mapping[str, Any], models: Mapping[str, str], files: str) -> None:
    for name, entry in tasks.items():
        if not re.fullmatch(NAME, name):
            raise LatentlabError(
                f"{files}: a task cannot have the name {name!r}: use letters, digits, _ and -"
            )
        require_known(entry, ("code", "model"), f"{files}: tasks.{name}")
        if missing := {"code", "model"} - set(entry):
            raise LatentlabError(
                f"{files}: tasks.{name} has no key {min(missing)!r}: it needs `code`, the path of"
                " its file, and `model`, the name of the model whose run it reads"
            )
        if entry["model"] not in {*models, "classifier"}:
            raise LatentlabError(
                f"{files}: tasks.{name} reads the model {entry['model']!r}, which is not under"
                f" `models`: run `latentlab select` with it, or use one of"
                f" {', '.join([*models, 'classifier'])}"
            )
