"""The section of the page about the data: counts of each class, sizes, faults, examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentlab.report.comparison import Comparison
from latentlab.report.pictures import Pictures, picture

SPLITS = {"train": "training", "val": "validation", "test": "test"}
MAX_CLASSES = 20  # rows of the table, as many as the picture has


def data_of(comparison: Comparison, pictures: Pictures) -> dict[str, Any] | None:
    """The content of the section as plain data; None without results/data/summary.json.

    Keys: `facts`, pairs of text; `sentences`; `columns` and `table`, images of each class and
    split; `figure`, training images. The picture is added to `pictures`.
    """
    folder = comparison.folder / "data"
    summary = read_summary(folder)
    if not summary:
        return None
    classes = summary.get("classes") or {}
    figure = None
    if found := picture(folder / "examples.png"):
        rows = "one row for each class of the table" if classes else "in random order"
        figure = {
            "src": pictures.add(found.webp),
            "w": found.width,
            "h": found.height,
            "pixelated": found.pixelated,
            "caption": f"Training images, {rows}",
        }
    return {
        "facts": _facts(summary),
        "sentences": list(summary.get("sentences") or []),
        "columns": [SPLITS[split] for split in summary["counts"]],
        "table": _table(summary["counts"], classes),
        "figure": figure,
    }


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of summary.json that stage prepare wrote into `folder`; empty without it."""
    try:
        content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and "counts" in content else {}


def _table(counts: Mapping[str, int], classes: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    """A row for all images, then one for each class, and one that says how many are left out."""
    rows = [["all images", *(f"{count:,}" for count in counts.values())]]
    for name, found in list(classes.items())[:MAX_CLASSES]:
        rows.append([name, *(f"{found.get(split, 0):,}" for split in counts)])
    if (more := len(classes) - MAX_CLASSES) > 0:
        rows.append([f"{more:,} more classes", *("…" for _ in counts)])
    return rows


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    duplicates = summary.get("duplicates") or {}
    numbers = {
        "Enlarged": summary.get("upscaled"),
        "Frames not used": summary.get("frames_dropped"),
        "Unreadable, skipped": summary.get("unreadable"),
        "Copies, equal pixels": duplicates.get("copies"),
        "Test images seen in training": duplicates.get("test"),
        "Groups": summary.get("groups"),
        "Near-black": summary.get("near_black"),
        "Near-white": summary.get("near_white"),
    }
    counts = [(name, f"{value:,}") for name, value in numbers.items() if value is not None]
    return [*_sizes(summary.get("widths"), summary.get("heights")), *counts]


def _sizes(widths: Any, heights: Any) -> list[tuple[str, str]]:
    """The median size, and the ranges of width and height if they differ; nothing if not known."""
    if not widths or not heights:
        return []
    (w0, w, w1), (h0, h, h1) = widths, heights
    if (w0, h0) == (w1, h1):
        return [("Original size, px", f"{w} × {h}")]
    return [
        ("Original size, median, px", f"{w:,} × {h:,}"),
        ("Original widths", f"{w0:,} to {w1:,}"),
        ("Original heights", f"{h0:,} to {h1:,}"),
    ]
