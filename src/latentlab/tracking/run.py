"""One MLflow run: open or continue it, log to it, finish it. A failing store never raises here."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from latentlab.tracking.address import store_folder
from latentlab.tracking.delivery import (
    CircuitBreaker,
    LoggedSteps,
    Point,
    read_pending,
    write_pending,
)
from latentlab.tracking.images import LoggedImages
from latentlab.tracking.metadata import flatten, log_params_and_tags, metric_value, valid_tags
from latentlab.tracking.model import upload_model
from latentlab.tracking.naming import run_name
from latentlab.tracking.store import (
    MAX_METRICS,
    MAX_TAGS,
    experiment_id,
    find_run,
    log_batch,
    log_dataset,
    open_store,
    short_message,
)
from latentlab.utils.errors import LatentlabError

Status = Literal["FINISHED", "FAILED", "KILLED"]


def open_run(
    root: Path,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    dataset: Mapping[str, Any] | None = None,
    seconds: float = 0.0,
) -> Run:
    """Start a run. Nested `params` get dotted keys; values are cut at 6000 letters.

    Its name is `name`, and what differs from an earlier run (naming.py). `dataset`: see
    `store.log_dataset`. `seconds`: how long ago its work began.

    An experiment that was deleted in MLflow is restored. Raises LatentlabError if the store does
    not work.
    """
    with open_store(root) as client:
        id_ = experiment_id(client, root, experiment)
        start = time.time_ns() // 1_000_000 - round(1000 * seconds)
        run = client.create_run(id_, start, run_name=run_name(client, id_, name, params))
        opened = Run(client, run.info.run_id, store_folder(root), start_time=start)
        log_params_and_tags(client, run, params, tags)
        if dataset is not None:
            log_dataset(client, opened.id, dataset)
    return opened


def continue_run(
    root: Path,
    run_id: str,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    dataset: Mapping[str, Any] | None = None,
) -> Run:
    """Continue a run, and send the metrics that an earlier process could not send.

    Points of curves (`train/…`, `val/…`) that the store has are not sent again, so a resumed
    training may log repeated steps, or its whole history (`Run.log_missing`).

    MLflow does not allow a param to change: a new value is logged as the tag `changed.<param>`.
    If the store does not have the run (it was deleted, or the weights come from another machine),
    a new run with `name` in `experiment` is opened, and one line is printed. Raises LatentlabError
    if the store does not work.
    """
    with open_store(root) as client:
        run = find_run(client, run_id)
        if run is not None:
            client.update_run(run_id, status="RUNNING")
            log_params_and_tags(client, run, params, tags)
    if run is None:
        new: dict[str, Any] = {"name": name, "params": params, "tags": tags, "dataset": dataset}
        opened = open_run(root, experiment=experiment, **new)
        print(f"{name}: no run {run_id or '(none)'} in this MLflow store; opened {opened.id}")
        return opened
    steps = partial(_stored_steps, client, run_id)
    continued = Run(
        client,
        run_id,
        store_folder(root),
        start_time=run.info.start_time,
        is_new=False,
        stored_steps=steps,
    )
    continued._send_pending()
    return continued


def add_metrics(root: Path, run_id: str, metrics: Mapping[str, Any]) -> bool:
    """Log nested results to a finished run, as `Run.log_final` does. Its state does not change.

    A run that the store does not have is skipped. Return False, after a warning, if the store
    failed. Raises LatentlabError if it does not work at all.
    """
    with open_store(root) as client:
        run = find_run(client, run_id)
    if run is None:
        return True
    start, folder = run.info.start_time, store_folder(root)
    return Run(client, run_id, folder, start_time=start, is_new=False).log_final(metrics)


class Run:
    """One MLflow run. Metrics are buffered in memory until `flush`.

    If the store fails, no method raises: the next flush sends the metrics again. Metrics that are
    unsent at `finish` are written to `pending_file`. `start_time`: ms since 1970. `is_new`: False
    for a run of an earlier process. `stored_steps(key)` returns the steps of a metric that the
    store has; a new run has none.
    """

    def __init__(
        self,
        client: Any,
        run_id: str,
        folder: Path,
        *,
        start_time: int,
        is_new: bool = True,
        stored_steps: Callable[[str], Iterable[int]] = lambda key: (),
    ) -> None:
        self.id = run_id
        self.pending_file = folder / f"pending-{run_id}.jsonl"
        self._client, self._start_time = client, start_time
        self._images = LoggedImages(client, run_id, is_new=is_new)
        self._logged_steps = LoggedSteps(stored_steps)
        self._metrics: list[Point] = []
        self._tags: dict[str, str] = {}
        self._non_finite: set[str] = set()
        self._failed_uploads: list[str] = []
        self._breaker = CircuitBreaker()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Buffer values under names such as `train/loss`. `flush` sends them.

        NaN and ±inf are stored as NaN, because MLflow would store ±inf as the finite ±1.8e308. The
        tag `non_finite.<name>` holds the first such value. Raises LatentlabError for a name that
        MLflow does not allow, or a value that is not a number.
        """
        now = time.time_ns() // 1_000_000
        for key, number in metrics.items():
            value = metric_value(key, number)
            if not math.isfinite(value):
                if key not in self._non_finite:
                    self._non_finite.add(key)
                    self._tags[f"non_finite.{key}"[:250]] = f"{value} at step {step}"
                value = math.nan
            self._metrics.append((key, value, now, step))

    def log_missing(self, rows: Iterable[tuple[str, str, int, float]], batch_size: int) -> bool:
        """Log the rows (split, quantity, images, value) that the store does not have, and flush.

        A resumed training calls this with the curves of its checkpoint. A process that was killed
        while the store failed has written no pending file.
        """
        for split, quantity, images, value in rows:
            self.log({f"{split}/{quantity}": value}, images // batch_size)
        return self.flush()

    def log_final(self, metrics: Mapping[str, Any]) -> bool:
        """Log nested results as `test/sse` at step 0, and flush. Text is logged as a tag.

        None is skipped. A result that is logged again replaces the earlier value, except for names
        of curves (`train/…`, `val/…`).
        """
        flat = dict(flatten(metrics, "/"))
        self._tags |= valid_tags({k: v for k, v in flat.items() if isinstance(v, str)})
        self.log({k: v for k, v in flat.items() if v is not None and not isinstance(v, str)}, 0)
        return self.flush()

    def set_tags(self, tags: Mapping[str, str]) -> bool:
        """Set tags. If the store fails, the next flush sends them again."""
        self._tags |= valid_tags(tags)
        return self.flush()

    def flush(self) -> bool:
        """Send the buffered metrics and tags. Return False if some are still unsent."""
        while self._metrics or self._tags:
            if not self._breaker.call("metrics", self._send, "they are kept and sent later"):
                return False
        return True

    def log_artifact(self, path: Path, folder: str | None = None) -> bool:
        """Copy a file, or the files in a folder, into `folder` of the run's artifacts.

        Return False, after a warning, if the store failed. Raises LatentlabError if `path` does
        not exist.
        """
        _require_path(path)
        upload = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        return self._upload(path.name, lambda: upload(self.id, str(path), folder))

    def log_images(self, image_folder: Path, key: str) -> bool:
        """Log the images in the files <step>.npy of a folder, uint8 (N, H, W, C), under a name.

        Images that the store has are not sent again. If the store fails, `finish` sends them.
        """
        self._images.add(image_folder, key)
        return self._breaker.call("images", self._images.send, "they are sent later")

    def log_model(self, run_folder: Path, *, image_shape: Sequence[int]) -> bool:
        """Log the folder that stage train wrote as an MLflow model, with the code in pyfunc.py.

        The model takes float32 images (N, C, H, W) and the param `task`. Nothing is pickled, and
        no example is run or stored. Its requirements do not include latentlab, which is not on
        PyPI: install it where the model is loaded. Does nothing if the run has a model already.
        Returns False and raises LatentlabError like `log_artifact`.
        """
        _require_path(run_folder)
        upload = partial(upload_model, self._client, self.id, run_folder, image_shape)
        return self._upload(f"model {run_folder.name}", upload)

    def finish(self, status: Status = "FINISHED", *, seconds: float | None = None) -> bool:
        """Close the run. Return False, after a warning, if MLflow does not have all of it.

        `seconds`: its duration on MLflow's web page; None for the time since it was opened.
        Unsent metrics are written to `pending_file`. `continue_run` sends them.
        """
        self._breaker.reset()
        missing = [f"artifacts ({', '.join(self._failed_uploads)})"] if self._failed_uploads else []
        if self.flush():
            self.pending_file.unlink(missing_ok=True)
        else:
            missing.append(f"metrics ({self._write_pending()})")
        send = self._images.send
        if self._images.folders and not self._breaker.call("images", send, "they are not stored"):
            missing.append("images")
        end = None if seconds is None else self._start_time + round(1000 * seconds)
        close = partial(self._client.set_terminated, self.id, status, end)
        if not self._breaker.call(f"status {status}", close, "it is not stored"):
            missing.append(f"status {status}")
        if missing:
            print(
                f"warning: run {self.id} lacks in MLflow: {', '.join(missing)}."
                " Run the same command again when the MLflow store works",
                file=sys.stderr,
            )
        return not missing

    def _write_pending(self) -> str:
        """Write the pending file. Return where the metrics are, or why they are lost."""
        try:
            write_pending(self.pending_file, self._metrics, self._tags)
        except OSError as error:  # a full disk must not fail a training that has finished
            return f"lost: {short_message(error)}"
        return f"kept in {self.pending_file}"

    def _upload(self, what: str, action: Callable[[], Any]) -> bool:
        """Call what is not tried again later. `finish` lists the failures."""
        if self._breaker.call(what, action, "it is not stored"):
            return True
        self._failed_uploads.append(what)
        return False

    def _send(self) -> None:
        """Send as many metrics and tags as one request may have."""
        self._metrics = self._logged_steps.missing(self._metrics)
        points, tags = self._metrics[:MAX_METRICS], list(self._tags.items())[:MAX_TAGS]
        if points or tags:
            log_batch(self._client, self.id, metrics=points, tags=tags)
        self._logged_steps.add(points)
        del self._metrics[: len(points)]
        for key, _ in tags:
            del self._tags[key]

    def _send_pending(self) -> None:
        """Send the pending file of an earlier process, if there is one, and delete it."""
        if not self.pending_file.exists():
            return
        metrics, tags = read_pending(self.pending_file)
        self._metrics += metrics
        self._tags |= tags
        if self.flush():
            self.pending_file.unlink()


def _require_path(path: Path) -> None:
    if not path.exists():
        raise LatentlabError(f"cannot log {path} to MLflow: it does not exist. Write it first")


def _stored_steps(client: Any, run_id: str, key: str) -> Iterable[int]:
    return (point.step for point in client.get_metric_history(run_id, key))
