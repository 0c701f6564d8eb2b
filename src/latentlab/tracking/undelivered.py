"""The file that keeps what a store did not take, until the run is continued.

One JSON object a line: {key, value (null: NaN), timestamp, step} or {tag, value}.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

Point = tuple[str, float, int, int]  # key, value, ms since 1970, step


def keep(path: Path, metrics: list[Point], tags: dict[str, str]) -> None:
    """Write the file, whole or not at all."""
    rows: list[dict[str, Any]] = [
        {"key": k, "value": None if math.isnan(v) else v, "timestamp": t, "step": s}
        for k, v, t, s in metrics
    ]
    rows += [{"tag": key, "value": value} for key, value in tags.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    with fresh.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def read(path: Path) -> tuple[list[Point], dict[str, str]]:
    """The metrics and tags that `keep` wrote."""
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
