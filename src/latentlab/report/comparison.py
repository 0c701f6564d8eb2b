"""Read results/ of all models and baselines; format them as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from latentlab.config.seeds import stage_of
from latentlab.evaluation.results import StoredResult, read_result
from latentlab.report.arrays import StoredArrays
from latentlab.report.metrics import BY_KEY, Row, Values
from latentlab.report.seeds import averaged, same_settings, trainings_of
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class ModelResults:
    """The content of results/<name>/.

    `card`: the model card. `pca`: the PCA baseline with the same size of codes; None without an
    encoder. `provenance`: when and with what the model was measured, as far as it was stored.
    `trainings`: the name of each training, such as vae and vae@1, → its row. If there are several,
    `row` has their means, and all else is of the first one.
    """

    row: Row
    card: dict[str, Any]
    pca: Row | None
    folder: Path
    diagnostics: list[StoredResult] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    trainings: dict[str, Row] = field(default_factory=dict)

    @cached_property
    def arrays(self) -> StoredArrays:
        """The values of single test images, by metric, from per_image.npz; empty without it."""
        return StoredArrays(self.folder, "per_image.npz")

    @cached_property
    def history(self) -> dict[str, list[tuple[float, float]]]:
        """The curves, "split/quantity" → [(training images, value)], which only the page shows."""
        return _read_history(self.folder / "history.csv")

    @property
    def warnings(self) -> list[str]:
        """The warnings of all diagnostics, such as “mode collapse: 4 of 10 classes”."""
        return [text for result in self.diagnostics for text in result.warnings]


@dataclass(frozen=True)
class Comparison:
    """The content of the page. `dataset`: the dataset card. `folder`: results/.

    `rows`: the models in the order of the project, then the baselines. `pending`: models and tasks
    of the project without results. `skipped`: model → why the data do not suit it. `goal`: a key of
    config.goals.GOALS, or None. `evidence`: the content of results/reference/evidence.json; empty
    if it is missing.
    """

    models: list[ModelResults]
    baselines: list[Row]
    dataset: dict[str, Any]
    folder: Path
    seed: int = 0
    data: str = ""
    tasks: list[StoredResult] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    goal: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(init=False)

    @property
    def unreliable(self) -> dict[str, str]:
        """Metric → why it cannot be trusted on these data, one sentence."""
        return dict(self.evidence.get("unreliable") or {})

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", [m.row for m in self.models] + self.baselines)


def read_comparison(project: Any, *, outdated: Collection[str] | None = None) -> Comparison:
    """Read the results of all models of `project`, of the baselines and of the tasks.

    `outdated`: names of models and tasks, and "reference", whose results are from before a change.
    With it (also an empty one), they and those without results are left out; models and tasks are
    listed as `pending`.

    Raises LatentlabError for a missing or unreadable file, and if two models were measured with
    different features: their FIDs cannot be compared.
    """
    folder = project.root / "results"
    pending = [] if outdated is None else _without_results(project, outdated)
    skipped = _skipped(folder, [name for name in project.models if name not in pending])
    models = [
        _with_seeds(_read_model(folder / name, name), project.more_seeds, pending, outdated is None)
        for name in project.models
        if name not in pending and name not in skipped
    ]
    dataset, measured, evidence = _read_reference(project, outdated)
    models = _of_these_data(models, dataset, pending, strict=outdated is None)
    return Comparison(
        _with_titles(models),
        _baselines(models, measured),
        dataset,
        folder,
        seed=project.seed,
        data=str(dataset.get("data") or project.data.name),
        tasks=_read_tasks(
            folder / "tasks", [name for name in project.tasks if name not in pending]
        ),
        pending=pending,
        goal=project.goal,
        evidence=evidence,
        skipped=skipped,
    )


def _of_these_data(
    models: Sequence[ModelResults], dataset: Mapping[str, Any], pending: list[str], *, strict: bool
) -> list[ModelResults]:
    """The models measured with the same test images and features as the baselines.

    The others are from before a change: they are `pending`. `strict`: raise LatentlabError.
    """
    kept = []
    for model in models:
        name = model.row.name
        features, expected = model.card.get("features"), dataset.get("features")
        if None not in (features, expected) and features != expected:
            raise LatentlabError(
                f"{name} was measured with the features {features!r}, the baselines with"
                f" {expected!r}: both must be equal. Run `dvc repro {stage_of('evaluate', name)}`"
            )
        known = {model.card.get("reference"), dataset.get("reference")} - {None}
        if len(known) < 2:
            kept.append(model)
        elif strict:
            raise LatentlabError(
                f"{name} was measured with other images or another classifier than the baselines:"
                f" run `dvc repro {stage_of('evaluate', name)}`"
            )
        else:
            pending.append(name)
    return kept


def _skipped(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The models that were left out (`on_unsuitable: skip`), each with the reason."""
    cards = {name: _read_json(folder / name / "card.json", _hint(name)) for name in names}
    return {name: str(card["skipped"]) for name, card in cards.items() if "skipped" in card}


def _hint(name: str) -> str:
    return f"{name} is not evaluated yet; run `dvc repro {stage_of('evaluate', name)}`"


def distinct_titles(titles: Mapping[str, str]) -> dict[str, str]:
    """Name → title, with the name behind a title that several have.

    Two configs of one class, such as a VAE with two values of beta, have the title of its file.
    """
    counts = Counter(titles.values())
    return {
        name: f"{title} ({name})" if counts[title] > 1 else title for name, title in titles.items()
    }


def _with_titles(models: Sequence[ModelResults]) -> list[ModelResults]:
    titles = distinct_titles({model.row.name: model.row.title for model in models})
    return [replace(m, row=replace(m.row, title=titles[m.row.name])) for m in models]


def _read_tasks(folder: Path, names: Sequence[str]) -> list[StoredResult]:
    results = {name: read_result(folder / name / "result") for name in names}
    titles = distinct_titles({name: result.title for name, result in results.items()})
    return [replace(result, title=titles[name]) for name, result in results.items()]


def _with_seeds(
    model: ModelResults, seeds: Sequence[int], pending: list[str], strict: bool
) -> ModelResults:
    """Add the other trainings of a model. Those with other settings are left out, as `pending`.

    `strict`: raise LatentlabError for such a training.
    """
    rows = {model.row.name: model.row}
    for training in trainings_of(model.row.name, seeds):
        if training.name in pending:
            continue
        other = _read_model(model.folder.parent / training.name, training.name)
        if same_settings(model.card, other.card):
            rows[training.name] = other.row
        elif strict:
            raise LatentlabError(
                f"{training.name} was measured with other settings than {training.model}: run"
                f" `dvc repro {training.stage('evaluate')}`"
            )
        else:
            pending.append(training.name)
    first, *others = rows.values()
    return replace(model, row=averaged(first, others) if seeds else first, trainings=rows)


def _read_reference(
    project: Any, outdated: Collection[str] | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The dataset card, the metrics of the baselines, and the evidence for the metrics.

    With `outdated`, what stage prepare wrote is enough.
    """
    folder = project.root / "results" / "reference"
    if outdated is not None and ("reference" in outdated or not (folder / "card.json").exists()):
        hint = "the images are not prepared yet; run `dvc repro prepare`"
        meta = _read_json(project.prepared / "meta.json", hint)
        card = {"data": meta.get("name"), "data_sha256": meta.get("sha256", "–")}
        return meta | card | {"split_seed": project.seed, "folder": project.data.folder}, {}, {}
    hint = "the baselines are not measured yet; run `dvc repro reference`"
    names = ["card.json", "metrics.json"]
    if (folder / "evidence.json").exists():
        names.append("evidence.json")
    dataset, measured, *evidence = [_read_json(folder / name, hint) for name in names]
    return dataset, measured, evidence[0] if evidence else {}


def _without_results(project: Any, outdated: Collection[str]) -> list[str]:
    """Models and tasks that are outdated, or of which the last file of results is missing."""
    folder = project.root / "results"
    others = [t.name for m in project.models for t in trainings_of(m, project.more_seeds)]
    last = {name: folder / name / "cost.json" for name in [*project.models, *others]}
    last |= {name: folder / "tasks" / name / "cost.json" for name in project.tasks}
    return [name for name, path in last.items() if name in outdated or not path.exists()]


def _read_model(folder: Path, name: str) -> ModelResults:
    hint = _hint(name)
    metrics = _read_json(folder / "metrics.json", hint)
    card = _read_json(folder / "card.json", hint)
    cost = _read_json(folder / "cost.json", hint) if (folder / "cost.json").exists() else {}
    diagnostics = _read_diagnostics(folder / "diagnostics")
    values = values_of(metrics) | _numbers(cost)
    for key, value in _numbers(metrics.get("test") or {}).items():  # terms of the model's loss
        values.setdefault(f"test_{key}", value)
    for diagnostic in diagnostics:
        named = {f"{diagnostic.name}/{key}": v for key, v in diagnostic.metrics.items()}
        values |= {key: value for key, value in named.items() if key in BY_KEY}
    pca = None
    if isinstance(metrics.get("pca"), dict):
        pca_values = values_of(metrics["pca"])
        pca_values.setdefault("latent_dim", values.get("latent_dim", math.nan))
        pca = _pca_row(pca_values)
    row = Row(name, str(card.get("title") or name), str(card.get("family") or "–"), values)
    provenance = cost.get("provenance")
    return ModelResults(
        row,
        card,
        pca,
        folder,
        diagnostics,
        provenance if isinstance(provenance, dict) else {},
    )


def _read_diagnostics(folder: Path) -> list[StoredResult]:
    if not folder.is_dir():
        return []
    return [read_result(path) for path in sorted(folder.iterdir())]


def _pca_row(values: Values) -> Row:
    size = values.get("latent_dim", math.nan)
    name = f"PCA-{size:.0f}" if math.isfinite(size) else "PCA"
    return Row(name, name, "", values)


def _baselines(models: Sequence[ModelResults], measured: Mapping[str, Any]) -> list[Row]:
    """Real images, PCA once for each size of codes, raw pixels and noise, as far as measured.

    Stage reference also measures PCA of one size: it adds values that the row of this size lacks.
    """
    pca: dict[str, Row] = {}
    for model in models:
        if model.pca:
            pca.setdefault(model.pca.name, model.pca)
    if measured.get("pca_gaussian"):
        row = _pca_row(values_of(measured["pca_gaussian"]))
        known = pca.get(row.name, row)
        pca[row.name] = Row(row.name, row.title, "", row.values | known.values)
    rows = [Row("real", "Real images", "", values_of(measured.get("real", {})))]
    rows += sorted(pca.values(), key=lambda row: row.values.get("latent_dim", math.inf))
    rows.append(Row("pixels", "Raw pixels", "", values_of(measured.get("pixels", {}))))
    rows.append(Row("noise", "Uniform noise", "", values_of(measured.get("noise", {}))))
    return [row for row in rows if row.values]


def values_of(metrics: Mapping[str, Any]) -> Values:
    """The numbers of metrics.json, with `<key>_low` and `<key>_high` for 95 % intervals.

    Also the novelty of a baseline, under the names that a model's diagnostic has.
    """
    values = _numbers(metrics)
    for key, half in _numbers(metrics.get("ci95") or {}).items():
        if key in values:
            values[f"{key}_low"], values[f"{key}_high"] = values[key] - half, values[key] + half
    values |= _numbers(metrics.get("other_spaces") or {})
    novelty = _numbers(metrics.get("novelty") or {})
    return values | {f"novelty/{key}": value for key, value in novelty.items()}


def _numbers(values: Mapping[str, Any]) -> Values:
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _read_json(path: Path, hint: str) -> dict[str, Any]:
    name = "/".join(path.parts[-3:])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LatentlabError(f"{name} is missing: {hint}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise LatentlabError(f"{name} is not readable JSON ({error}): {hint}") from error
    if not isinstance(content, dict):
        raise LatentlabError(f"{name} has a {type(content).__name__}, not an object: {hint}")
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
                f"{'/'.join(path.parts[-3:])} is damaged ({error!r}): it needs the columns split, "
                f"quantity, step, images, value. Run `dvc repro -f"
                f" {stage_of('evaluate', path.parent.name)}`"
            ) from error
    return history


def comparison_csv(comparison: Comparison) -> str:
    """All rows with all values, not rounded; a missing value is empty.

    Text that a spreadsheet would read as a formula gets an apostrophe in front.
    """
    known = dict.fromkeys(BY_KEY)
    keys = [*known, *sorted({key for row in comparison.rows for key in row.values} - set(known))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "type", "family", *map(_no_formula, keys)])
    for row in comparison.rows:
        values = [repr(row.values[key]) if key in row.values else "" for key in keys]
        row_type = "model" if row.family else "baseline"
        writer.writerow([_no_formula(row.name), row_type, _no_formula(row.family), *values])
    return buffer.getvalue()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
