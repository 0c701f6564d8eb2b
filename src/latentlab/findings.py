"""What an examination found: a sentence, numbers, a table, pictures; written whole, read back.

Studies look at what one trained model is about (`studies/`), tasks at what models are good for
(`tasks/`); both return a Finding, which goes to MLflow and onto the page alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentlab.contracts import LatentlabError
from latentlab.files import write_json

Table = Mapping[str, Mapping[str, float]]  # row → column → value


@dataclass(frozen=True)
class Picture:
    """`draw` writes the PNG at the path it is given; `name` is its file name without suffix."""

    name: str
    caption: str
    draw: Callable[[Path], None]


@dataclass(frozen=True)
class Finding:
    """`title` and `text` say what was asked and how to read the answer.

    `numbers` are logged to MLflow, by names with their units (`psnr_db`). `table` compares rows of
    the same columns. `flags` are alarms in a few words each, such as "collapsed: 3 of 10 classes".
    """

    title: str
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    table: Table = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Shown:
    """A finding as the page reads it: `pictures` are (caption, path)."""

    name: str
    title: str
    text: str
    table: Table
    numbers: Mapping[str, float]
    flags: Sequence[str]
    pictures: Sequence[tuple[str, Path]]


def write_finding(finding: Finding, folder: Path) -> None:
    """Write finding.json and its pictures into an empty `folder`, which is made."""
    folder.mkdir(parents=True)
    for picture in finding.pictures:
        picture.draw(folder / f"{picture.name}.png")
    content = {
        "title": finding.title,
        "text": finding.text,
        "numbers": dict(finding.numbers),
        "table": {row: dict(values) for row, values in finding.table.items()},
        "flags": list(finding.flags),
        "pictures": [[picture.name, picture.caption] for picture in finding.pictures],
    }
    write_json(folder / "finding.json", content)


def read_finding(folder: Path) -> Shown:
    """Read what `write_finding` wrote. Raises LatentlabError for anything else."""
    path = folder / "finding.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Shown(
            folder.parent.name if folder.name == "finding" else folder.name,
            str(content["title"]),
            str(content["text"]),
            {row: _numbers(values) for row, values in content["table"].items()},
            _numbers(content["numbers"]),
            [str(flag) for flag in content["flags"]],
            [(str(text), folder / f"{Path(name).name}.png") for name, text in content["pictures"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LatentlabError(
            f"{'/'.join(path.parts[-4:])} is no finding ({error!r}): run the stage that makes it"
            " again, `dvc repro -f`"
        ) from None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: math.nan if value is None else float(value) for key, value in values.items()}
