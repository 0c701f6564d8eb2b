"""Check params.yaml: each part of it alone, so one error hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentlab.config.keys import require_known
from latentlab.config.problems import PARAMS, Report
from latentlab.config.project import SECTIONS, SETTINGS, parse_project, read_shared
from latentlab.config.yaml_files import read_yaml
from latentlab.utils.errors import LatentlabError


def shared_settings(root: Path, content: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Return the sections of params.yaml that are valid; add a problem for each other one."""
    valid: dict[str, Any] = {"seed": 0}
    if report.attempt(PARAMS, parse_project, root, {"seed": content.get("seed")}, PARAMS):
        valid["seed"] = content["seed"]
    _check_seeds(root, content, report)
    for key in ("goal", "on_unsuitable"):
        alone = {"seed": 0, key: content.get(key)}
        if key in content and report.attempt(PARAMS, parse_project, root, alone, PARAMS):
            valid[key] = content[key]
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
    for name, entry in mapping(content.get("models")).items():
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
    """DVC stops at a path that does not exist. Without dvc.yaml, nothing reads the path."""
    watched = isinstance(listed, str) and (root / "dvc.yaml").is_file()
    if watched and not (root / listed).exists():
        report.add(
            PARAMS,
            f"{section}.{name} is {listed!r}, which does not exist: run `latentlab select` to"
            " write it again, or correct the path",
        )


def _check_tasks(
    root: Path, content: Mapping[str, Any], valid: dict[str, Any], report: Report
) -> None:
    models = mapping(content.get("models"))
    for name, entry in mapping(content.get("tasks")).items():
        part = {"seed": 0, "models": dict.fromkeys(models, ""), "tasks": {name: entry}}
        if report.attempt(PARAMS, parse_project, root, part, PARAMS):
            valid.setdefault("tasks", {})[name] = entry
            _check_path(root, "tasks", f"{name}.code", mapping(entry).get("code"), report)


def allowed(root: Path, report: Report) -> tuple[str, ...]:
    try:
        return read_shared(root)[1]
    except LatentlabError:  # other errors of the file are listed already
        content = read_yaml(root / PARAMS)
        return tuple(content["allow"]) if isinstance(content.get("allow"), list) else ()


def mapping(value: Any) -> Mapping[str, Any]:
    """The value, or an empty mapping in place of anything else."""
    return value if isinstance(value, Mapping) else {}
