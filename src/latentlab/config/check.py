"""`latentlab check`: all that cannot work in a project, in one list, without training.

Each part is checked alone, so one error hides no other. The models are built for images of the
shape of data/prepared, or of the source of the settings if that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentlab.config.experiment import experiment_of, task_of
from latentlab.config.keys import nearest, require_known
from latentlab.config.model_contract import require_model, require_outputs
from latentlab.config.project import SECTIONS, SETTINGS, parse_project, read_shared
from latentlab.config.seeds import Training
from latentlab.config.selection import CLASSIFIER, model_names, task_names
from latentlab.config.yaml_files import read_yaml
from latentlab.data.settings import DataSettings
from latentlab.data.sources import SOURCES, project_path
from latentlab.utils.errors import LatentlabError

PARAMS = "params.yaml"


@dataclass(frozen=True)
class Problem:
    """What cannot work, in which file of the project, and what to change."""

    file: str
    message: str


@dataclass
class Report:
    """`notes`: what could not be checked. `checked`: how many models and tasks were looked at."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: str = ""

    def add(self, file: str, message: str) -> None:
        """Add a problem, unless it is listed. The name of the file in front of it is dropped."""
        problem = Problem(file, message.removeprefix(f"{file}: ").removeprefix(f"{file} "))
        if problem not in self.problems:
            self.problems.append(problem)

    def attempt(self, file: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return function(…), or None after its LatentlabError was added."""
        try:
            return function(*args, **kwargs)
        except LatentlabError as error:
            self.add(file, str(error))
            return None


def check_project(root: Path, names: Sequence[str] = ()) -> Report:
    """Check params.yaml, the data, and the models and tasks `names` (default: those listed).

    Raise LatentlabError for a name that configs/ does not have.
    """
    report = Report()
    content = report.attempt(PARAMS, read_yaml, root / PARAMS)
    if content is None:
        return report
    shared = _shared_settings(root, content, report)
    listed_models, listed_tasks = (_mapping(content.get(key)) for key in ("models", "tasks"))
    models, tasks = _chosen(root, names, listed_models, listed_tasks)
    spec = _data_spec(root, shared, report)
    allow = _allow(root, report)
    for name in models:
        _check_model(root, name, spec, shared, allow, report)
    for name in tasks:
        report.attempt(
            f"configs/tasks/{name}.yaml", task_of, name, root, shared=shared, allow=allow
        )
    report.checked = f"{len(models)} models and {len(tasks)} tasks"
    return report


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _chosen(
    root: Path, names: Sequence[str], models: Mapping[str, Any], tasks: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """The models, the classifier among them, and the tasks to check."""
    if not names:
        return [CLASSIFIER, *models], list(tasks)
    names = list(dict.fromkeys(Training.parse(name).model for name in names))
    known_models = {*model_names(root), CLASSIFIER, *models}
    known_tasks = {*task_names(root), *tasks}
    for name in names:
        if name not in known_models | known_tasks:
            close = nearest(name, known_models | known_tasks)
            hint = f"did you mean {close!r}? " if close else ""
            raise LatentlabError(
                f"unknown model or task {name!r}: {hint}configs/ has"
                f" {', '.join(sorted(known_models))}; tasks: {', '.join(sorted(known_tasks))}"
            )
    return [n for n in names if n in known_models], [n for n in names if n in known_tasks]


def _shared_settings(root: Path, content: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Return the sections of params.yaml that are valid; add a problem for each other one."""
    valid: dict[str, Any] = {"seed": 0}
    if report.attempt(PARAMS, parse_project, root, {"seed": content.get("seed")}, PARAMS):
        valid["seed"] = content["seed"]
    _check_seeds(root, content, report)
    for section in content:
        report.attempt(PARAMS, require_known, [section], ("allow", *SECTIONS), PARAMS)
    for section in (*SETTINGS, "models"):
        value = content.get(section)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            report.add(PARAMS, f"{section} is {value!r}; it must be a mapping")
            continue
        for part in _parts(section, value):
            if report.attempt(PARAMS, parse_project, root, {"seed": 0, section: part}, PARAMS):
                valid.setdefault(section, {}).update(part)
    for name, entry in _mapping(content.get("models")).items():
        _check_path(root, "models", name, entry, report)
    _check_tasks(root, content, valid, report)
    return valid


def _check_seeds(root: Path, content: Mapping[str, Any], report: Report) -> None:
    """`more_seeds` is valid with `seed`, and there: dvc.yaml loops over it."""
    pipeline = root / "dvc.yaml"
    if "more_seeds" in content:
        pair = {"seed": content.get("seed"), "more_seeds": content["more_seeds"]}
        report.attempt(PARAMS, parse_project, root, pair, PARAMS)
    elif pipeline.is_file() and "${more_seeds}" in pipeline.read_text(encoding="utf-8"):
        report.add(PARAMS, "more_seeds is missing, and dvc.yaml reads it: write `more_seeds: []`")


def _parts(section: str, value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a section that are valid or not by themselves: each key; all of `data`."""
    if section == "data":  # its values depend on each other
        yield value
    else:
        yield from ({key: each} for key, each in value.items())


def _check_path(root: Path, section: str, name: str, listed: Any, report: Report) -> None:
    """DVC stops at a path that does not exist."""
    if isinstance(listed, str) and not (root / listed).exists():
        report.add(
            PARAMS,
            f"{section}.{name} is {listed!r}, which does not exist: run `latentlab select` to"
            " write it again, or correct the path",
        )


def _check_tasks(
    root: Path, content: Mapping[str, Any], valid: dict[str, Any], report: Report
) -> None:
    models = _mapping(content.get("models"))
    for name, entry in _mapping(content.get("tasks")).items():
        part = {"seed": 0, "models": dict.fromkeys(models, ""), "tasks": {name: entry}}
        if report.attempt(PARAMS, parse_project, root, part, PARAMS):
            valid.setdefault("tasks", {})[name] = entry
            _check_path(root, "tasks", f"{name}.code", _mapping(entry).get("code"), report)


def _allow(root: Path, report: Report) -> tuple[str, ...]:
    try:
        return read_shared(root)[1]
    except LatentlabError:  # other errors of the file are listed already
        content = read_yaml(root / PARAMS)
        return tuple(content["allow"]) if isinstance(content.get("allow"), list) else ()


# --- data ---


def _data_spec(root: Path, shared: Mapping[str, Any], report: Report) -> dict[str, Any] | None:
    """image_shape and num_classes; None if they are not known before stage prepare."""
    from latentlab.data.prepared import read_meta

    settings = DataSettings(**shared.get("data", {}))
    folder = project_path(root, settings.folder)
    entry = SOURCES[settings.name]
    if not folder.is_dir() and (entry.needs_size or (root / "dvc.yaml").is_file()):
        use = "has the images" if entry.needs_size else "is watched by dvc.yaml"
        report.add(
            PARAMS,
            f"data.folder is {settings.folder!r}, which is no folder, but {use}:"
            f" `mkdir -p {settings.folder}`, or set data.folder",
        )
    prepared = root / "data" / "prepared"
    if (prepared / "meta.json").is_file():
        meta = report.attempt("data/prepared", read_meta, prepared)
        if meta is not None and meta.name == settings.name and _fits(meta.image_shape, settings):
            return dict(meta.data_spec)
        report.notes.append("data/prepared is of other settings: the next run prepares it again")
    return _spec_of_source(settings, folder, report)


def _fits(shape: tuple[int, int, int], settings: DataSettings) -> bool:
    return settings.size in (None, shape[1]) and settings.channels in (None, shape[0])


def _spec_of_source(settings: DataSettings, folder: Path, report: Report) -> dict[str, Any] | None:
    entry = SOURCES[settings.name]
    channels, size, _ = entry.image_shape or (3, settings.size or 0, 0)
    channels, size = settings.channels or channels, settings.size or size
    shape = (channels, size, size)
    if entry.image_shape:
        return {"image_shape": shape, "num_classes": entry.num_classes}
    if settings.name != "image_folder" or not folder.is_dir():
        report.notes.append("the number of classes is not known before stage prepare; assumed: 0")
        return {"image_shape": shape, "num_classes": 0}
    from latentlab.data.sources.folder import folder_classes, list_images, refuse_mixed_folder

    names, _ = list_images(folder)
    if not names:
        report.add(PARAMS, f"data.folder: {settings.folder} has no image: put your images there")
        return {"image_shape": shape, "num_classes": 0}
    report.attempt(PARAMS, refuse_mixed_folder, folder, names)
    classes = folder_classes(names)[1] or ()
    return {"image_shape": shape, "num_classes": len(classes)}


# --- models ---


def _check_model(
    root: Path,
    name: str,
    spec: Mapping[str, Any] | None,
    shared: Mapping[str, Any],
    allow: Sequence[str],
    report: Report,
) -> None:
    file = f"configs/{name}.yaml"
    experiment = report.attempt(
        file, experiment_of, name, spec or {}, root, shared=shared, allow=allow
    )
    if experiment is None or name == CLASSIFIER or spec is None:
        return

    def contract() -> bool:
        require_model(experiment.model)
        require_outputs(experiment.model, experiment.sampler, spec["image_shape"])
        return True

    report.attempt(file, contract)
