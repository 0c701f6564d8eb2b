"""Deliver metrics to MLflow: retries, points that the store has already, unsent metrics in a file.

A training must not stop or slow down because MLflow does. So a failed request is skipped and its
metrics are sent later; a continued training sends no point twice; and metrics that are unsent at
the end of a run are written to a file, which is sent when the run is continued.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from latentlab.tracking.store import short_message, store_errors
from latentlab.utils.files import flush

Point = tuple[str, float, int, int]  # key, value, ms since 1970, step

_CURVES = ("train/", "val/")


class CircuitBreaker:
    """Call MLflow. After a failure, skip calls for a while, so that a slow server costs little.

    A failure that took t seconds blocks calls for 10 t seconds. So a server that does not answer
    slows down a training by at most 10 %. One warning is printed for each series of failures.
    """

    def __init__(self) -> None:
        self._failing = False
        self._blocked_until = -math.inf  # time.monotonic()

    def call(self, what: str, action: Callable[[], Any], consequence: str) -> bool:
        """Run `action`. Return True if it succeeded, False if it failed or was skipped.

        The warning says that MLflow did not accept `what`, and then `consequence`.
        """
        start = time.monotonic()
        if start < self._blocked_until:
            return False
        try:
            action()
        except store_errors() as error:
            now = time.monotonic()
            self._blocked_until = now + 10 * (now - start)
            if not self._failing:
                print(
                    f"warning: MLflow did not accept {what} ({short_message(error)}):"
                    f" {consequence}",
                    file=sys.stderr,
                )
            self._failing = True
            return False
        self._failing = False
        return True

    def reset(self) -> None:
        """Allow the next call, also if a call has just failed."""
        self._blocked_until = -math.inf


class LoggedSteps:
    """The steps of each curve that the store has. `fetch(key)` is called once for each curve.

    A curve is a metric `train/…` or `val/…`: it has one point for each step, and the first point
    stays. Every other metric is a result: the newest value replaces the older ones.
    """

    def __init__(self, fetch: Callable[[str], Iterable[int]]) -> None:
        self._fetch = fetch
        self._steps: dict[str, set[int]] = {}

    def missing(self, points: Iterable[Point]) -> list[Point]:
        """Return the points that the store does not have, one for each step of a curve.

        Raises what `fetch` raises.
        """
        selected: dict[object, Point] = {}
        for point in points:
            key, _, _, step = point
            if not key.startswith(_CURVES):
                selected[len(selected)] = point
            elif step not in self._of(key):
                selected.setdefault((key, step), point)
        return list(selected.values())

    def add(self, points: Iterable[Point]) -> None:
        """Record points that were sent to the store."""
        for key, _, _, step in points:
            if key.startswith(_CURVES):
                self._of(key).add(step)

    def _of(self, key: str) -> set[int]:
        if key not in self._steps:
            self._steps[key] = set(self._fetch(key))
        return self._steps[key]


def write_pending(path: Path, metrics: list[Point], tags: dict[str, str]) -> None:
    """Write unsent metrics and tags to a JSON Lines file. Raises OSError if the disk is full.

    The file appears complete or not at all.
    """
    rows: list[dict[str, Any]] = [
        {"key": k, "value": None if math.isnan(v) else v, "timestamp": t, "step": s}
        for k, v, t, s in metrics
    ]
    rows += [{"tag": key, "value": value} for key, value in tags.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        flush(file.fileno())
    os.replace(temporary, path)


def read_pending(path: Path) -> tuple[list[Point], dict[str, str]]:
    """Return the metrics and tags of a file that `write_pending` wrote."""
    metrics: list[Point] = []
    tags: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "tag" in row:
            tags[row["tag"]] = row["value"]
        else:
            value = math.nan if row["value"] is None else row["value"]
            metrics.append((row["key"], value, row["timestamp"], row["step"]))
    return metrics, tags
