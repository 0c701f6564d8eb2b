"""What evaluate wrote, read back: rows of models and baselines, as objects, text and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentlab.contracts import LatentlabError
from latentlab.findings import Shown, read_finding
from latentlab.report.columns import BY_KEY, Numbers, decimals_of, text_of


@dataclass(frozen=True)
class Row:
    """A line of the table: `family` is empty for a baseline."""

    name: str
    title: str
    family: str
    values: Numbers


@dataclass(frozen=True)
class Entry:
    """Everything that results/<name>/ holds about one model."""

    row: Row
    card: dict[str, Any]
    twin: Row | None
    history: dict[str, list[tuple[float, float]]]
    folder: Path
    studies: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class Results:
    """What the page shows: `rows` are the models in the project's order, then the baselines."""

    entries: list[Entry]
    baselines: list[Row]
    reference: dict[str, Any]
    folder: Path
    seed: int = 0
    data: str = ""
    tasks: list[Shown] = field(default_factory=list)
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", [e.row for e in self.entries] + self.baselines)


def read_results(project: Any) -> Results:
    """Read what evaluate wrote for every model of `project`, and the reference.

    Raises LatentlabError for a missing or unreadable file, and when two models were measured in
    different feature spaces, whose FIDs must not stand in one column.
    """
    folder = project.root / "results"
    entries = [_entry(folder / name, name) for name in project.models]
    hint = "the reference is not measured yet; run `dvc repro reference`"
    reference = _read_json(folder / "reference" / "card.json", hint)
    measured = _read_json(folder / "reference" / "metrics.json", hint)
    for entry in entries:
        spaces = entry.card.get("features"), reference.get("features")
        if None not in spaces and spaces[0] != spaces[1]:
            raise LatentlabError(
                f"{entry.row.name} was measured in feature space {spaces[0]!r}, the reference in "
                f"{spaces[1]!r}; run `dvc repro evaluate@{entry.row.name}` to measure it anew"
            )
    return Results(
        entries,
        _baselines(entries, measured),
        reference,
        folder,
        seed=project.seed,
        data=str(reference.get("data") or project.data.name),
        tasks=[read_finding(folder / "tasks" / name / "finding") for name in project.tasks],
    )


def _entry(folder: Path, name: str) -> Entry:
    hint = f"{name} is not evaluated yet; run `dvc repro evaluate@{name}`"
    metrics = _read_json(folder / "metrics.json", hint)
    card = _read_json(folder / "card.json", hint)
    cost = _read_json(folder / "cost.json", hint) if (folder / "cost.json").exists() else {}
    values = _numbers(metrics) | _numbers(cost)
    for key, value in _numbers(metrics.get("test") or {}).items():  # the model's own objective
        values.setdefault(key if key in BY_KEY else f"test_{key}", value)
    made = sorted((folder / "studies").iterdir()) if (folder / "studies").is_dir() else []
    studies = [read_finding(study) for study in made]
    for study in studies:
        values |= {key: number for key, number in study.numbers.items() if key in BY_KEY}
    twin = None
    if isinstance(metrics.get("pca"), dict):
        pca = _numbers(metrics["pca"])
        pca.setdefault("latent_dim", values.get("latent_dim", math.nan))
        twin = _pca_row(pca)
    row = Row(name, str(card.get("title") or name), str(card.get("family") or "–"), values)
    return Entry(row, card, twin, _read_history(folder / "history.csv"), folder, studies)


def _pca_row(values: Numbers) -> Row:
    size = values.get("latent_dim", math.nan)
    name = f"PCA-{size:.0f}" if math.isfinite(size) else "PCA"
    return Row(name, name, "", values)


def _baselines(entries: Sequence[Entry], measured: Mapping[str, Any]) -> list[Row]:
    """Real images, PCA once per code size, raw pixels, noise: those of them that were measured.

    The Gaussian fitted to PCA codes is PCA's sampler: its numbers complete the row of its size.
    """
    pca: dict[str, Row] = {}
    for entry in entries:
        if entry.twin:
            pca.setdefault(entry.twin.name, entry.twin)
    if measured.get("pca_gaussian"):
        drawn = _pca_row(_numbers(measured["pca_gaussian"]))
        known = pca.get(drawn.name, drawn)
        pca[drawn.name] = Row(drawn.name, drawn.title, "", drawn.values | known.values)
    rows = [Row("real", "Real images", "", _numbers(measured.get("real", {})))]
    rows += sorted(pca.values(), key=lambda row: row.values.get("latent_dim", math.inf))
    rows.append(Row("pixels", "Raw pixels", "", _numbers(measured.get("pixels", {}))))
    rows.append(Row("noise", "Uniform noise", "", _numbers(measured.get("noise", {}))))
    return [row for row in rows if row.values]


def _numbers(values: Mapping[str, Any]) -> Numbers:
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _read_json(path: Path, hint: str) -> dict[str, Any]:
    place = "/".join(path.parts[-3:])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LatentlabError(f"{place} is missing: {hint}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise LatentlabError(f"{place} is not readable JSON ({error}): {hint}") from error
    if not isinstance(content, dict):
        raise LatentlabError(f"{place} holds a {type(content).__name__}, not an object: {hint}")
    return content


def _read_history(path: Path) -> dict[str, list[tuple[float, float]]]:
    """history.csv (split, quantity, step, images, value) → "split/quantity": [(images, value)]."""
    history: dict[str, list[tuple[float, float]]] = {}
    if not path.exists():
        return history
    with path.open(newline="", encoding="utf-8") as file:
        try:
            for line in csv.DictReader(file):
                point = float(line["images"] or line["step"]), float(line["value"])
                history.setdefault(f"{line['split']}/{line['quantity']}", []).append(point)
        except (KeyError, TypeError, ValueError) as error:
            raise LatentlabError(
                f"{'/'.join(path.parts[-3:])} is damaged ({error!r}); it needs the columns split, "
                f"quantity, step, images, value: run `dvc repro -f evaluate@{path.parent.name}`"
            ) from error
    return history


def format_table(results: Results) -> str:
    """The main numbers as aligned plain text; numbers stand right, baselines below a rule."""
    keys = ["fid", "reconstruction_mse", "psnr_db", "ssim", "probe_accuracy", "judge_accuracy"]
    metrics = [BY_KEY[key] for key in [*keys, "parameters", "train_seconds"]]
    digits = {metric.key: decimals_of(metric, results.rows) for metric in metrics}
    heading = ["model", "family", *(metric.label for metric in metrics)]
    lines = [
        [row.name if row.family else row.title, row.family or "baseline"]
        + [text_of(metric, row.values.get(metric.key), digits[metric.key]) for metric in metrics]
        for row in results.rows
    ]
    widths = [max(map(len, column)) for column in zip(heading, *lines, strict=True)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    rule = "─" * len(line(heading))
    count = len(results.entries)
    return "\n".join(
        [line(heading), rule, *map(line, lines[:count]), rule, *map(line, lines[count:])]
    )


def results_csv(results: Results) -> str:
    """All rows with every number that was measured, unrounded; an absent number is empty.

    Text that a spreadsheet would take for a formula stands behind an apostrophe.
    """
    known = dict.fromkeys(BY_KEY)
    keys = [*known, *sorted({key for row in results.rows for key in row.values} - set(known))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "kind", "family", *map(_inert, keys)])
    for row in results.rows:
        kind = "model" if row.family else "baseline"
        numbers = [repr(row.values[key]) if key in row.values else "" for key in keys]
        writer.writerow([_inert(row.name), kind, _inert(row.family), *numbers])
    return buffer.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
