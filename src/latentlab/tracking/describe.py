"""What a run says of itself: params, tags and metric names as MLflow allows them; code state."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentlab.tracking.errors import mistake

_PARAM_CHARS, _TAG_CHARS = 6000, 5000  # MLflow's limits, the second as its strictest store has it
_NAME = re.compile(r"(?=.{1,250}$)\w[\w .:-]*(/\w[\w .:-]*)*")
_BATCH = 100  # params, and tags, a request: MLflow's limit


def run_tags(root: Path) -> dict[str, str]:
    """`git.commit` ("none" where `root` is not under git) and `git.dirty` ("true", "false").

    dvc.lock and results do not count as changes: the pipeline itself writes them.
    """

    def git(*command: str) -> str:
        call = ["git", "-C", str(root), *command]
        ran = subprocess.run(call, capture_output=True, text=True, timeout=30)
        return ran.stdout.strip() if ran.returncode == 0 else ""

    try:
        # an outer repository that tracks nothing here (an unpacked archive) says nothing of us
        commit = git("rev-parse", "HEAD") if git("ls-files", "--", ".") else ""
        ours = (":(exclude)dvc.lock", ":(exclude)results", ":(exclude)reports")
        changed = git("status", "--porcelain", "--", ".", *ours) if commit else ""
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    if not commit:
        return {"git.commit": "none"}
    return {"git.commit": commit, "git.dirty": "true" if changed else "false"}


def describe(client: Any, run: Any, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Write params and tags; a param that has another value already becomes a tag."""
    from mlflow.entities import Param, RunTag

    known = run.data.params
    flat = {
        re.sub(r"[^\w.\- ]", "_", key)[:250]: _cut(str(value), _PARAM_CHARS)
        for key, value in flatten(params, ".")
    }
    fresh = [Param(key, value) for key, value in flat.items() if key not in known]
    changed = {f"changed.{k}"[:250]: v for k, v in flat.items() if k in known and known[k] != v}
    marks = [RunTag(*tag) for tag in checked_tags({**tags, **changed}).items()]
    for start in range(0, max(len(fresh), len(marks)), _BATCH):
        part = slice(start, start + _BATCH)
        client.log_batch(run.info.run_id, params=fresh[part], tags=marks[part])


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags, cut at 5000 characters. Raises LatentlabError for a name MLflow does not allow."""
    for key in tags:
        check_name(key)
    return {key: _cut(str(value), _TAG_CHARS) for key, value in tags.items()}


def checked_number(key: str, value: Any) -> float:
    """The value of a metric. Raises LatentlabError if it is no number or its name not allowed."""
    check_name(key)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise mistake(
            f"metric {key!r} is {_cut(repr(value), 100)}, not a number: log one number a name"
        ) from None


def check_name(key: str) -> None:
    if not _NAME.fullmatch(key):
        raise mistake(
            f"{key!r} cannot name a metric or tag: use letters, digits, '_', '-', '.', ':', spaces,"
            " single slashes between parts, at most 250 characters"
        )


def flatten(tree: Mapping[str, Any], separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (joined key, leaf) of nested mappings; an empty mapping below the top is a leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
