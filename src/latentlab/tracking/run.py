"""A run: opened, logged to without ever stopping the caller, finished, continued."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from latentlab.tracking import undelivered
from latentlab.tracking.contact import Contact
from latentlab.tracking.describe import checked_number, checked_tags, describe, flatten
from latentlab.tracking.errors import mistake
from latentlab.tracking.held import Held
from latentlab.tracking.model import upload_model
from latentlab.tracking.store import (
    experiment_id,
    find_run,
    open_store,
    short,
    store_folder,
)

_BATCH = 1000  # metrics a request, MLflow's limit; for params and tags it is 100

Status = Literal["FINISHED", "FAILED", "KILLED"]


def open_run(
    root: Path,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Run:
    """Start a run called `name`. Nested `params` become dotted keys; long values are cut at 6000.

    An experiment deleted in MLflow's interface is restored. Raises LatentlabError if the store
    does not work.
    """
    with open_store(root) as client:
        run = client.create_run(experiment_id(client, root, experiment), run_name=name)
        opened = Run(client, run.info.run_id, store_folder(root))
        describe(client, run, params, tags)
    return opened


def continue_run(
    root: Path,
    run_id: str,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Run:
    """Resume a run, and deliver what an earlier process could not; a new run if it is unknown here.

    Steps of curves (`train/…`, `val/…`) that the store holds are not stored again: a training may
    log them anew, or all it knows (`Run.catch_up`).
    MLflow lets no param change: a value that differs from the first one becomes the tag
    `changed.<param>`. `name` and `experiment` serve the new run only. A run is unknown if its
    weights came from another machine, or if it was deleted: one printed line then says so. Raises
    LatentlabError if the store does not work.
    """
    with open_store(root) as client:
        run = find_run(client, run_id)
        if run is not None:
            client.update_run(run_id, status="RUNNING")
            describe(client, run, params, tags)
    if run is None:
        opened = open_run(root, experiment=experiment, name=name, params=params, tags=tags)
        print(f"{name}: no run {run_id or '(none)'} in this MLflow store; opened {opened.id}")
        return opened
    continued = Run(client, run_id, store_folder(root), holds=partial(_steps, client, run_id))
    continued._take_undelivered()
    return continued


class Run:
    """One MLflow run. Numbers wait in memory until `flush`; no failure of the store stops a caller.

    What the store does not take is offered again at the next flush, as `Contact` allows; what is
    left at `finish` goes to a file beside the store.

    `holds(key)` tells the steps that the store has of a metric; a new run has none.
    """

    def __init__(
        self,
        client: Any,
        run_id: str,
        folder: Path,
        *,
        holds: Callable[[str], Iterable[int]] = lambda key: (),
    ) -> None:
        self.id = run_id
        self.undelivered = folder / f"undelivered-{run_id}.jsonl"
        self._client = client
        self._held = Held(holds)
        self._metrics: list[undelivered.Point] = []
        self._tags: dict[str, str] = {}
        self._non_finite: set[str] = set()
        self._lost: list[str] = []  # artifacts
        self._contact = Contact()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Note values under names like `train/loss`; delivered by `flush`.

        NaN is stored as NaN. So is ±inf, which MLflow would store as ±1.8e308, a finite number.
        The first such value of each metric is spelt out in the tag `non_finite.<name>`. Raises
        LatentlabError for a name that MLflow does not allow or a value that is not a number.
        """
        now = time.time_ns() // 1_000_000
        for key, number in metrics.items():
            value = checked_number(key, number)
            if not math.isfinite(value):
                if key not in self._non_finite:
                    self._non_finite.add(key)
                    self._tags[f"non_finite.{key}"[:250]] = f"{value} at step {step}"
                value = math.nan
            self._metrics.append((key, value, now, step))

    def catch_up(self, rows: Iterable[tuple[str, str, int, float]], batch_size: int) -> bool:
        """Log those rows (split, quantity, images, value) that the store lacks, and flush.

        For a training that goes on from a checkpoint which holds its curves so far: a process that
        was killed during an outage could keep no file of what was undelivered.
        """
        for split, quantity, images, value in rows:
            self.log({f"{split}/{quantity}": value}, images // batch_size)
        return self.flush()

    def log_final(self, metrics: Mapping[str, Any]) -> bool:
        """Log nested results as `test/sse` at step 0, and flush; None is skipped, text is a tag.

        Results logged again replace the earlier ones, unless their names are those of curves.
        """
        flat = dict(flatten(metrics, "/"))
        self._tags |= checked_tags({k: v for k, v in flat.items() if isinstance(v, str)})
        self.log({k: v for k, v in flat.items() if v is not None and not isinstance(v, str)}, 0)
        return self.flush()

    def set_tags(self, tags: Mapping[str, str]) -> bool:
        """Set tags, or keep them for the next flush."""
        self._tags |= checked_tags(tags)
        return self.flush()

    def flush(self) -> bool:
        """Deliver what waits. False: the store did not take all of it, the rest goes on waiting."""
        kept = "they are kept and offered again"
        while self._metrics or self._tags:
            if not self._contact.attempt("metrics", self._deliver, kept):
                return False
        return True

    def log_artifact(self, path: Path, folder: str | None = None) -> bool:
        """Copy a file, or a folder's content, into `folder` among the run's artifacts.

        False, with a warning, if the store does not take it. Raises LatentlabError if `path` does
        not exist.
        """
        _must_exist(path)
        upload = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        return self._give(path.name, lambda: upload(self.id, str(path), folder))

    def log_model(self, run_folder: Path, *, image_shape: Sequence[int]) -> bool:
        """Log the folder that train wrote as an MLflow model, served by the code in serving.py.

        Images (N, C, H, W) float32 in, with the param `task`: see serving.py. Nothing is pickled,
        run or inferred, no example is stored. A run that has a model keeps it: nothing is done.
        The package itself is not among the model's requirements (no index has it): install it
        where the model is loaded. False and LatentlabError as in `log_artifact`.
        """
        _must_exist(run_folder)
        upload = partial(upload_model, self._client, self.id, run_folder, image_shape)
        return self._give(f"model {run_folder.name}", upload)

    def finish(self, status: Status = "FINISHED") -> bool:
        """Close the run. False if something stays undelivered: printed, the numbers kept in a file.

        A run that is continued delivers that file.
        """
        self._contact.insist()
        missing = [f"artifacts ({', '.join(self._lost)})"] if self._lost else []
        if self.flush():
            self.undelivered.unlink(missing_ok=True)
        else:
            missing.append(f"numbers ({self._keep()})")
        close = partial(self._client.set_terminated, self.id, status)
        if not self._contact.attempt(f"status {status}", close, "it is left out"):
            missing.append(f"status {status}")
        if missing:
            print(
                f"warning: run {self.id} lacks in MLflow: {', '.join(missing)};"
                " run the same command again once the store is back",
                file=sys.stderr,
            )
        return not missing

    def _keep(self) -> str:
        """Write the file of what is undelivered; says whether it could."""
        try:
            undelivered.keep(self.undelivered, self._metrics, self._tags)
        except OSError as error:  # a full disk: no reason to fail a training that is done
            return f"lost: {short(error)}"
        return f"kept in {self.undelivered}"

    def _give(self, what: str, action: Callable[[], Any]) -> bool:
        """Attempt what is not offered again: its loss is told now and at the end."""
        if self._contact.attempt(what, action, "it is left out"):
            return True
        self._lost.append(what)
        return False

    def _deliver(self) -> None:
        """Hand over what one request takes."""
        from mlflow.entities import Metric, RunTag

        self._metrics = self._held.lacking(self._metrics)
        points, marks = self._metrics[:_BATCH], list(self._tags.items())[:100]
        metrics, tags = [Metric(*p) for p in points], [RunTag(*m) for m in marks]
        if metrics or tags:
            self._client.log_batch(self.id, metrics=metrics, tags=tags)
        self._held.add(points)
        del self._metrics[: len(points)]
        for key, _ in marks:
            del self._tags[key]

    def _take_undelivered(self) -> None:
        if not self.undelivered.exists():
            return
        metrics, tags = undelivered.read(self.undelivered)
        self._metrics += metrics
        self._tags |= tags
        if self.flush():
            self.undelivered.unlink()


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise mistake(f"nothing to track at {path}: write it before it is logged")


def _steps(client: Any, run_id: str, key: str) -> Iterable[int]:
    return (point.step for point in client.get_metric_history(run_id, key))
