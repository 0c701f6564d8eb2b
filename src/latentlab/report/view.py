"""The view model of the page: plain data for the template and for the script.

Pure functions of a Comparison. Every picture is collected once, under a short name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentlab.config.goals import GOALS
from latentlab.report.arrays import Arrays, read_arrays
from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.facts import data_name
from latentlab.report.few_images import few_of
from latentlab.report.metrics import METRICS, Metric, Row, decimals_of, text_of
from latentlab.report.pairs import METHODS, pairs_of
from latentlab.report.pictures import Pictures, picture, sprites_of
from latentlab.report.ranking import beaten_by, lower
from latentlab.report.seeds import interval_of
from latentlab.report.ties import ties_of
from latentlab.report.words import words_of

MAX_POINTS = 60  # of one curve
MAP_STEPS = 999  # a position on a map is a whole number from 0 to this
PRESETS = {  # name → columns, the first decides the order
    "Overview": ("fid", "recall", "reconstruction_mse", "probe_accuracy", "train_seconds"),
    **{name.capitalize(): goal.columns for name, goal in GOALS.items()},
    "Cost": ("train_seconds", "images_per_second", "num_parameters", "peak_memory_mb"),
}
UNSORTED = {"Overview"}  # presets that keep the order of the project

View = dict[str, Any]


def view_of(comparison: Comparison, pictures: Pictures) -> View:
    """The numbers of the page for its script. Pictures are added to `pictures`."""
    reference = comparison.folder / "reference"
    arrays = read_arrays(reference) if comparison.baselines else {}  # else they are of old images
    shape = comparison.dataset.get("image_shape") or ()
    return {
        "name": data_name(comparison),
        "images": (comparison.dataset.get("counts") or {}).get("test"),
        "shape": list(shape),
        "classes": [str(name) for name in comparison.dataset.get("classes") or []],
        "labels": _whole_numbers(arrays.get("labels")),
        "sprites": _sprites(reference, arrays, shape, pictures, only=("originals",)),
        "metrics": [_metric(metric, comparison) for metric in columns_of(comparison)],
        "presets": presets_of(comparison),
        "ties": ties_of(comparison),
        "pairs": pairs_of(comparison),
        "methods": METHODS,
        "rows": [_row(row, comparison) for row in comparison.rows],
        "models": {m.row.name: _model(m, comparison, pictures) for m in comparison.models},
    }


def columns_of(comparison: Comparison) -> list[Metric]:
    """The metrics of the table: an optional one only if a model has it."""
    return [
        metric
        for metric in METRICS
        if not metric.optional or any(metric.key in row.values for row in comparison.rows)
    ]


def presets_of(comparison: Comparison) -> list[View]:
    """Goals with their columns, and the column that the table is sorted by.

    The page starts with the first one: the goal of the project, if it has one.
    """
    have = {metric.key for metric in columns_of(comparison)}
    first = (comparison.goal or "").capitalize()
    presets = []
    for name in sorted(PRESETS, key=lambda name: name != first):  # stable: the others keep order
        shown = [key for key in PRESETS[name] if key in have]
        presets.append({"name": name, "keys": shown, "sort": "" if name in UNSORTED else shown[0]})
    return presets


def _metric(metric: Metric, comparison: Comparison) -> View:
    return {
        "key": metric.key,
        "label": metric.label,
        "group": metric.group,
        "better": metric.better,
        "meaning": metric.meaning.replace("`", ""),  # for tooltips
        "decimals": decimals_of(metric, comparison.rows),
        "factor": metric.factor,
        "unreliable": comparison.unreliable.get(metric.key, ""),
    }


def _row(row: Row, comparison: Comparison) -> View:
    return {
        "name": row.name,
        "title": row.title,
        "family": row.family,
        "values": {
            metric.key: cell(row, metric, comparison)
            for metric in columns_of(comparison)
            if metric.key in row.values
        },
    }


def cell(row: Row, metric: Metric, comparison: Comparison) -> View:
    """A value: `v` the number (None if it is not finite), `t` its text, `low` and `high`.

    `spread`: half the interval, as text. `beaten`: the title of a baseline that is better. `few`:
    how many test images it is the mean of, if these are not all of them.
    """
    value, decimals = row.values[metric.key], decimals_of(metric, comparison.rows)
    view: View = {"v": rounded(value), "t": text_of(metric, value, decimals)}
    if (interval := interval_of(row.values, metric.key)) is not None:
        view["low"], view["high"] = rounded(interval[0]), rounded(interval[1])
        view["spread"] = text_of(metric, (interval[1] - interval[0]) / 2, decimals)
    model = next((m for m in comparison.models if m.row is row), None)
    if model is not None and (stronger := beaten_by(model, metric, comparison)) is not None:
        view["beaten"] = lower(stronger.title)
    if few := few_of(row, metric.key, comparison):
        view["few"] = few
    return view


def rounded(value: float, digits: int = 6) -> float | None:
    """A number with few significant digits; None if it is not finite (JSON has no NaN)."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def _model(model: ModelResults, comparison: Comparison, pictures: Pictures) -> View:
    arrays = read_arrays(model.folder)
    shape = comparison.dataset.get("image_shape") or ()
    sprites = _sprites(model.folder, arrays, shape, pictures)
    view: View = {
        "sprites": sprites,
        "curves": curves_of(model.history),
        "config": dict(flatten(model.card.get("config") or {})),
        **_map(arrays),
    }
    if "plane" in sprites and {"plane_x", "plane_y"} <= set(arrays):
        view["plane"] = {
            axis: [rounded(float(v), 4) for v in arrays[f"plane_{axis}"]] for axis in "xy"
        }
    if "training_samples" in sprites:
        view["training"] = {
            "images": _whole_numbers(arrays.get("training_images")),
            "reconstructions": "training_are_reconstructions" in arrays,
        }
    if "map" not in view and (figure := picture(model.folder / "map.png")):
        view["mapFigure"] = {
            "src": pictures.add(figure.webp),
            "w": figure.width,
            "h": figure.height,
        }
    return view


def _sprites(
    folder: Path,
    arrays: Arrays,
    shape: Sequence[int],
    pictures: Pictures,
    *,
    only: Sequence[str] = (),
) -> View:
    return {
        key: pictures.sprite(sprite)
        for key, sprite in sprites_of(folder, arrays, shape).items()
        if not only or key in only
    }


def _map(arrays: Arrays) -> View:
    """Positions on the map as whole numbers, and the range of the coordinates."""
    points = arrays.get("map")
    if points is None or points.ndim != 2 or points.shape[1:] != (2,) or not len(points):
        return {}
    low, high = points.min(0), points.max(0)
    if not bool((high > low).all() and math.isfinite(float((high - low).sum()))):
        return {}
    steps = ((points - low) / (high - low) * MAP_STEPS).round().astype(int)
    ends = [rounded(float(v), 5) for v in (low[0], high[0], low[1], high[1])]
    return {
        "map": {
            "x": steps[:, 0].tolist(),
            "y": steps[:, 1].tolist(),
            "range": ends,
            "code": "map_is_code" in arrays,
        }
    }


def _whole_numbers(values: Any) -> list[int]:
    return [] if values is None else [int(value) for value in values.reshape(-1)]


def curves_of(history: Mapping[str, Sequence[tuple[float, float]]]) -> list[View]:
    """One chart for each quantity: its name, and the points of each split, thinned."""
    quantities: dict[str, View] = {}
    for key, series in history.items():
        split, _, quantity = key.rpartition("/")
        chart = quantities.setdefault(
            quantity, {"key": quantity, "label": words_of(quantity), "lines": {}}
        )
        points = [p for p in sorted(series) if math.isfinite(p[0]) and math.isfinite(p[1])]
        if missing := len(series) - len(points):
            chart["missing"] = chart.get("missing", 0) + missing
        thin = thinned(points)
        chart["lines"][split or "train"] = [
            [rounded(x) for x, _ in thin],
            [rounded(y, 4) for _, y in thin],
        ]
    return list(quantities.values())


def thinned(points: Sequence[Any], most: int = MAX_POINTS) -> Sequence[Any]:
    """At most `most` points, evenly spaced, with the first and the last."""
    if len(points) <= most:
        return points
    last = len(points) - 1
    return [points[round(i * last / (most - 1))] for i in range(most)]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(joined key, leaf as text) of a nested configuration."""
    leaves: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves += flatten(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", "–" if value is None else str(value)))
    return leaves
