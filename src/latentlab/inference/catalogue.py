"""The models of a project: all of configs/, each with its family, title and state."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from latentlab.config import allowed_packages, find_root
from latentlab.config.allowed import PACKAGES
from latentlab.config.selection import CLASSIFIER, model_names
from latentlab.config.yaml_files import read_yaml
from latentlab.inference.arguments import as_path
from latentlab.inference.description import describe
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class ModelEntry:
    """A config. `family` and `title` are empty if its class cannot be imported.

    `trained`: the project has a run folder of it. `conditional`: images of a class can be sampled.
    """

    name: str
    family: str
    title: str
    trained: bool
    conditional: bool


class ModelList(list[ModelEntry]):
    """The entries, sorted by name. It prints as a table."""

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self]

    def __repr__(self) -> str:
        rows = [("name", "family", "trained", "title"), *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        heads = "".join(f"<th>{head}</th>" for head in ("name", "family", "trained", "title"))
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for entry in self:
            yield entry.name, entry.family, "yes" if entry.trained else "no", entry.title


def list_models(project: str | Path | None = None) -> ModelList:
    """See `latentlab.models`."""
    root = find_root(None if project is None else as_path(project, "The project"))
    allow = allowed_packages(root)
    return ModelList(_entry(root, name, (*PACKAGES, *allow)) for name in model_names(root))


def conditional_models(root: Path) -> list[str]:
    """Names of the class-conditional models of a project; of no project: none."""
    try:
        return [entry.name for entry in list_models(root) if entry.conditional]
    except LatentlabError:
        return []


def not_generative(name: str, root: Path) -> LatentlabError:
    """The error for a model without codes, the classifier, where a generative model is needed.

    It lists the trained models of the project.
    """
    folders = sorted(path.parent.name for path in root.glob("runs/*/experiment.json"))
    trained = ", ".join(each for each in folders if each not in (name, CLASSIFIER))
    known = f"Give the name of a trained one: {trained}" if trained else "None is trained yet"
    return LatentlabError(
        f"{name} is no generative model: it has no latent codes and no decoder, so it cannot"
        f" sample, encode, reconstruct or be exported. {known}."
    )


def _entry(root: Path, name: str, packages: tuple[str, ...]) -> ModelEntry:
    try:
        config = read_yaml(root / "configs" / f"{name}.yaml")
    except LatentlabError:
        config = {}
    cls = _class_of(config.get("model"), packages)
    described = describe(sys.modules[cls.__module__].__doc__ if cls else None)
    return ModelEntry(
        name,
        str(getattr(cls, "family", "")),
        str(config.get("title") or described.title),
        (root / "runs" / name / "experiment.json").is_file(),
        hasattr(cls, "condition"),
    )


def _class_of(spec: Any, packages: tuple[str, ...]) -> type | None:
    """The class that `spec` names, if it is of one of the packages and can be imported."""
    path = spec.get("class_path") if isinstance(spec, dict) else None
    if not isinstance(path, str) or path.partition(".")[0] not in packages:
        return None
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except Exception:  # the user's module can fail in any way; `latentlab check` reports it
        return None
    return found if isinstance(found, type) else None
