"""Params, tags and metric names that MLflow accepts, and the git state of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentlab.tracking.store import MAX_PARAMS, MAX_TAGS, log_batch
from latentlab.utils.errors import LatentlabError
from latentlab.utils.user import user_name

_PARAM_CHARS, _TAG_CHARS = 6000, 5000  # MLflow's limits; for tags, that of its strictest store
NO_COMMIT = ("none", "unknown")
_NAME = re.compile(r"(?=.{1,250}$)\w[\w .:-]*(/\w[\w .:-]*)*")


def run_tags(root: Path, source: str = "") -> dict[str, str]:
    """Return `git.commit` ("none" if `root` is not under git) and `git.dirty` ("true", "false").

    If git refuses to read the repository, as that of another user, the commit is "unknown",
    `git.error` has git's reason, and one line on stderr says it.

    Changes of dvc.lock, results and reports do not count, because the pipeline writes these files.
    `source`: the command of the run. MLflow's web page shows it, with the commit and the user.
    """
    tags = _git_tags(root)
    if source:
        tags |= {"mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
        tags["mlflow.user"] = user_name()
        if tags["git.commit"] not in NO_COMMIT:
            tags["mlflow.source.git.commit"] = tags["git.commit"]
    return tags


def commit_of(root: Path) -> str:
    """The commit of the code; empty if there is none, or if git cannot tell it."""
    commit = _git_tags(root)["git.commit"]
    return "" if commit in NO_COMMIT else commit


def _git_tags(root: Path) -> dict[str, str]:
    reasons: list[str] = []

    def git(*command: str) -> str:
        call = ["git", "-C", str(root), *command]
        done = subprocess.run(call, capture_output=True, text=True, timeout=30)
        if done.returncode != 0 and "not a git repository" not in done.stderr:
            reasons.append(" ".join(done.stderr.split()))
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        # a repository above `root` that tracks no file of it does not describe the project
        commit = git("rev-parse", "HEAD") if git("ls-files", "--", ".") else ""
        ignored = (":(exclude)dvc.lock", ":(exclude)results", ":(exclude)reports")
        changed = git("status", "--porcelain", "--", ".", *ignored) if commit else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        commit = ""
        if any((folder / ".git").exists() for folder in (root, *root.resolve().parents)):
            reasons.append(str(error))
    if not commit and reasons:
        print(f"the commit of the code is not recorded: {reasons[0]}", file=sys.stderr)
        return {"git.commit": "unknown", "git.error": reasons[0]}
    if not commit:
        return {"git.commit": "none"}
    return {"git.commit": commit, "git.dirty": "true" if changed else "false"}


def log_params_and_tags(
    client: Any, run: Any, params: Mapping[str, Any], tags: Mapping[str, str]
) -> None:
    """Log params and tags. A param that has another value already is logged as a tag."""
    logged = run.data.params
    flat = flat_params(params)
    changed = {f"changed.{k}"[:250]: v for k, v in flat.items() if k in logged and logged[k] != v}
    new_params = [item for item in flat.items() if item[0] not in logged]
    new_tags = list(valid_tags({**tags, **changed}).items())
    while new_params or new_tags:
        run_id = run.info.run_id
        log_batch(client, run_id, params=new_params[:MAX_PARAMS], tags=new_tags[:MAX_TAGS])
        del new_params[:MAX_PARAMS], new_tags[:MAX_TAGS]


def flat_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return nested params with dotted keys and values that MLflow accepts."""
    return {
        re.sub(r"[^\w.\- ]", "_", key)[:250]: _truncate(str(value), _PARAM_CHARS)
        for key, value in flatten(params, ".")
    }


def valid_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags, truncated at 5000 characters. Raises LatentlabError for a bad name."""
    for key in tags:
        check_name(key)
    return {key: _truncate(str(value), _TAG_CHARS) for key, value in tags.items()}


def metric_value(key: str, value: Any) -> float:
    """Return the value as a float. Raises LatentlabError for a bad name or no number."""
    check_name(key)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise LatentlabError(
            f"metric {key!r} is {_truncate(repr(value), 100)}, which is not a number: log one"
            " number under each name"
        ) from None


def check_name(key: str) -> None:
    """Raise LatentlabError if MLflow does not allow this name for a metric or tag."""
    if not _NAME.fullmatch(key):
        raise LatentlabError(
            f"{key!r} is not a valid name of a metric or tag. Allowed are letters, digits, '_',"
            " '-', '.', ':', spaces, single slashes between parts, and at most 250 characters."
            " Rename it"
        )


def flatten(tree: Mapping[str, Any], separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (joined key, leaf) of nested mappings. An empty mapping below the top is a leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value


def _truncate(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
