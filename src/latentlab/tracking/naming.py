"""The name of a run says what differs from the first runs of the same model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from latentlab.tracking.metadata import flat_params

MAX_CHANGES = 3
MAX_CHARS = 24  # of a value
# what a run is called and how it is evaluated is no difference of the training
IGNORED = ("evaluation.", "title", "summary", "differs_from_the_paper", "tuned_on_labels")


def run_name(client: Any, experiment: str, name: str, params: Mapping[str, Any]) -> str:
    """Return `name`, or such as `vae · lr=0.001, beta=4` if params differ from an earlier run.

    The earlier run is the newest finished run that is called `name` only. At most three changes
    are named. `experiment`: its id. Raises the store's error.
    """
    quote = '"' if "'" in name else "'"
    text = f"attributes.run_name = {quote}{name}{quote} and attributes.status = 'FINISHED'"
    newest = ["attributes.start_time DESC"]
    found = client.search_runs([experiment], text, max_results=1, order_by=newest)
    if not found:
        return name
    changes = list(_changes(found[0].data.params, flat_params(params)))
    if not changes:
        return name
    more = len(changes) - MAX_CHANGES
    rest = f", +{more} more" if more > 0 else ""
    return f"{name} · {', '.join(changes[:MAX_CHANGES])}{rest}"


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield `lr=0.001` for each param with a new value, and `lr=none` if it is gone."""
    keys = [key for key in dict.fromkeys((*now, *before)) if before.get(key) != now.get(key)]
    keys = [key for key in keys if not key.startswith(IGNORED)]
    for key, short in zip(keys, _short(keys), strict=True):
        value = now.get(key, "none")
        if key.endswith("class_path"):
            value = value.rpartition(".")[2]
        yield f"{short}={value if len(value) <= MAX_CHARS else value[: MAX_CHARS - 1] + '…'}"


def _short(keys: Iterable[str]) -> Iterator[str]:
    """Yield the last part of each key, or the last two where the last is not unique.

    `model.class_path` is the class of the model: it becomes `model`.
    """
    parts = [key.removesuffix(".class_path").split(".") for key in keys]
    parts = [[p for p in part if p != "init_args"] for part in parts]
    last = Counter(part[-1] for part in parts)
    for part in parts:
        yield part[-1] if last[part[-1]] == 1 else ".".join(part[-2:])
