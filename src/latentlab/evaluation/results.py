"""Results of diagnostics and tasks, stored as result.json with figures beside it.

A diagnostic looks at one trained model (`diagnostics/`), a task uses models for a purpose
(`tasks/`). Both return a Result. It is logged to MLflow and shown on the comparison page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_json

Table = Mapping[str, Mapping[str, float]]  # row → column → value


@dataclass(frozen=True)
class Figure:
    """A PNG file. `name`: file name without suffix. `save`: writes the PNG at the given path."""

    name: str
    caption: str
    save: Callable[[Path], None]


@dataclass(frozen=True)
class Result:
    """The outcome of a diagnostic or a task.

    `summary`: what was measured, and how to read it. `metrics`: logged to MLflow; names include
    units (`psnr_db`). `table`: rows with equal columns. `warnings`: a few words each, such as
    "collapsed: 3 of 10 classes".
    """

    title: str
    summary: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    table: Table = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class StoredResult:
    """A Result read back from disk. `figures`: (caption, path of the PNG)."""

    name: str
    title: str
    summary: str
    table: Table
    metrics: Mapping[str, float]
    warnings: Sequence[str]
    figures: Sequence[tuple[str, Path]]


def write_result(result: Result, folder: Path) -> None:
    """Create `folder` and write result.json and one PNG for each figure into it.

    Raises FileExistsError if the folder exists.
    """
    folder.mkdir(parents=True)
    for figure in result.figures:
        figure.save(folder / f"{figure.name}.png")
    content = {
        "title": result.title,
        "summary": result.summary,
        "metrics": dict(result.metrics),
        "table": {row: dict(values) for row, values in result.table.items()},
        "warnings": list(result.warnings),
        "figures": [[figure.name, figure.caption] for figure in result.figures],
    }
    write_json(folder / "result.json", content)


def read_result(folder: Path) -> StoredResult:
    """Read the files of `write_result`. Raises LatentlabError if they are missing or invalid."""
    path = folder / "result.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return StoredResult(
            folder.parent.name if folder.name == "result" else folder.name,
            str(content["title"]),
            str(content["summary"]),
            {row: _floats(values) for row, values in content["table"].items()},
            _floats(content["metrics"]),
            [str(warning) for warning in content["warnings"]],
            [(str(text), folder / f"{Path(name).name}.png") for name, text in content["figures"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LatentlabError(
            f"{'/'.join(path.parts[-4:])} is not a stored result ({error!r}): run its stage again"
            " with `dvc repro -f`"
        ) from None


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: math.nan if value is None else float(value) for key, value in values.items()}
