"""The MLflow runs of the stages: one for each model; below it, one for each further seed and task.

Stage train opens the run of a model, stage evaluate continues it. Nothing here changes a result.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from latentlab import tracking
from latentlab.config import Experiment, Project
from latentlab.config.seeds import Training
from latentlab.data.prepared import DatasetInfo, read_meta
from latentlab.evaluation.results import Result
from latentlab.inference.description import describe
from latentlab.inference.trained import TrainedModel
from latentlab.report.data_section import read_summary
from latentlab.report.metrics import BY_KEY, COUNT, Row
from latentlab.report.seeds import spreads
from latentlab.stages import UNTRACKED
from latentlab.training import FitResult
from latentlab.training.environment import environment, environment_tags
from latentlab.training.resume import ResumePoint
from latentlab.training.training_samples import frames_folder

PAGE = "reports/index.html"
MAX_TAG = 5000  # characters, the limit of MLflow
MAX_CLASSES = 200  # in the profile of the data set
LOOK_AT = {  # at first, by family
    "AE": "`reconstruction_mse` of test images; `probe_accuracy`, the use of the code",
    "VAE": "`val/loss`, the negative ELBO; `fid` of samples of the prior",
    "GAN": "`fid` and `recall` of samples; `gan_training/…`, the balance of the two networks",
    "Diffusion": "`fid` of samples, with the number of sampling steps of its config",
}


def open_training(
    experiment: Experiment, dataset: DatasetInfo, resume: ResumePoint | None
) -> tracking.AnyRun:
    """Open a run, or continue that of the checkpoint and send what it lacks."""
    project, family = experiment.project, str(experiment.model.family)
    text = _describe_model(experiment.name, experiment.model, experiment.resolved)
    arguments: dict[str, Any] = {
        "experiment": _experiment(project),
        "name": experiment.name,
        "params": experiment.resolved,
        "tags": {
            **_tags(project, "train", experiment.name),
            **environment_tags(environment()),
            "data.sha256": dataset.sha256,
            "data.notes": _data_notes(project),
            "family": family,
            "mlflow.note.content": text,
        },
        "dataset": _dataset(project, dataset),
    }
    if resume is None:
        return tracking.open_run(project.root, **arguments)
    run = tracking.continue_run(project.root, resume.run_id, **arguments)
    run.log_missing(resume.rows, experiment.trainer.batch_size)
    return run


def finish_training(
    run: tracking.AnyRun, folder: Path, fitted: FitResult, dataset: DatasetInfo, work: Path
) -> None:
    """Add the cost and the trained model. Exit with code 3 if MLflow did not store all of it.

    `work`: the work folder of the training, for the images that were not sent during it.
    """
    run.log_images(frames_folder(work), key="samples")
    run.log_final(fitted.cost)
    run.set_tags({"device": fitted.device})
    run.log_artifact(folder / "weights.pt")
    run.log_model(folder, image_shape=dataset.image_shape)
    _finish(run, fitted.cost["train_seconds"])


def add_evaluation(
    project: Project,
    trained: TrainedModel,
    metrics: dict[str, Any],
    results: dict[str, Result],
    folder: Path,
) -> None:
    """Add metrics, warnings and files to the run of a model. Exit code 3 as `finish_training`.

    The duration of the run stays that of the training.
    """
    text = _describe_model(trained.name, trained.module, trained.metadata["resolved"])
    of_training = _run_id(trained.folder)
    run = tracking.continue_run(
        project.root,
        of_training,
        experiment=_experiment(project),
        name=trained.name,
        params=trained.metadata["resolved"],
        tags={
            **_tags(project, "evaluate", trained.name),
            "data.sha256": trained.metadata["data_sha256"],
            "mlflow.note.content": text,
        },
        dataset=_dataset(project, read_meta(project.prepared)),
    )
    cost = json.loads((trained.folder / "cost.json").read_text())
    if run.id != of_training:
        _log_training(run, trained, cost)
    run.log_final(metrics)
    warnings = [warning for result in results.values() for warning in result.warnings]
    run.set_tags({"warnings": "; ".join(warnings) or "none"})
    run.log_artifact(folder, "report")
    _finish(run, cost["train_seconds"])


def _log_training(run: tracking.AnyRun, trained: TrainedModel, cost: Mapping[str, Any]) -> None:
    """Fill a new run with the training that the run folder holds: curves, cost and model.

    The store lacks the run of a training that came from another machine by `dvc pull`.
    """
    folder, batch_size = trained.folder, trained.metadata["resolved"]["trainer"]["batch_size"]
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            (row["split"], row["quantity"], int(row["images"]), float(row["value"]))
            for row in csv.DictReader(file)
        ]
    run.log_missing(rows, batch_size)
    run.log_final({key: value for key, value in cost.items() if isinstance(value, int | float)})
    tags = environment_tags(cost["environment"]) if "environment" in cost else {}
    run.set_tags({**tags, "device": trained.metadata["device"]})
    run.log_artifact(folder / "weights.pt")
    run.log_model(folder, image_shape=trained.image_shape)


def add_spreads(project: Project, trainings: Mapping[str, Mapping[str, Row]]) -> None:
    """Add mean and standard deviation over several trainings to the run of the first of them.

    `trainings`: model → the rows of its trainings. The metrics are those of the table, as
    `seeds/fid_mean` and `seeds/fid_std`, and `seeds/num_trainings`. Exit code 3 as
    `finish_training`.
    """
    complete = True
    for model, rows in trainings.items():
        found = spreads([row.values for row in rows.values()])
        metrics: dict[str, float] = {COUNT: len(rows)}
        for key, spread in found.items():
            if key in BY_KEY and spread.std != 0:
                metrics |= {f"{key}_mean": spread.mean, f"{key}_std": spread.std}
        run_id = _run_id(project.root / "runs" / model)
        complete &= tracking.add_metrics(project.root, run_id, {"seeds": metrics})
    if not complete:
        raise SystemExit(UNTRACKED)


def log_task(
    project: Project, name: str, settings: dict[str, Any], result: Result, seconds: float
) -> None:
    """Log the run of a task, below that of its model. Exit code 3 as `finish_training`."""
    tags = {
        **tracking.run_tags(project.root, f"latentlab repro tasks@{name}"),
        "family": "task",
        "mlflow.note.content": _note([f"**{result.title}.** {result.summary}"]),
    }
    if parent := _run_id(project.root / "runs" / settings["model"]):
        tags["mlflow.parentRunId"] = parent
    run = tracking.open_run(
        project.root,
        experiment=_experiment(project),
        name=name,
        params=settings,
        tags=tags,
        dataset=_dataset(project, read_meta(project.prepared)),
        seconds=seconds,
    )
    run.log_final({"task": dict(result.metrics), "task_seconds": seconds})
    run.set_tags({"warnings": "; ".join(result.warnings) or "none"})
    run.log_artifact(project.root / "results" / "tasks" / name, "report")
    _finish(run, seconds)


def _finish(run: tracking.AnyRun, seconds: float) -> None:
    if not run.finish("FINISHED", seconds=seconds):
        raise SystemExit(UNTRACKED)


def _tags(project: Project, kind: str, name: str) -> dict[str, str]:
    """Tags of a training: code, command, its model, and the first training, whose run it is below.

    `kind`: train or evaluate.
    """
    training = Training.parse(name)
    tags = tracking.run_tags(project.root, f"latentlab repro {training.stage(kind)}")
    tags["model"] = training.model
    first = _run_id(project.root / "runs" / training.model) if training.seed is not None else ""
    return tags | ({"mlflow.parentRunId": first} if first else {})


def _experiment(project: Project) -> str:
    return f"latentlab-{project.data.name}"


def _run_id(folder: Path) -> str:
    """The MLflow run of a run folder; empty if it has none."""
    path = folder / "mlflow_run_id"
    return path.read_text().strip() if path.is_file() else ""


def _dataset(project: Project, dataset: DatasetInfo) -> dict[str, Any]:
    """The record of the data set: its profile has the summary of stage prepare."""
    summary = read_summary(project.root / "results" / "data")
    if len(summary.get("classes") or ()) > MAX_CLASSES:
        del summary["classes"]
    source = project.data.folder if dataset.name in ("image_folder", "shards") else dataset.name
    return {
        "name": dataset.name,
        "digest": dataset.sha256,
        "source": str(source),
        "counts": dict(dataset.counts),
        "summary": summary,
    }


def _data_notes(project: Project) -> str:
    """What stage prepare said about the data, such as the number of copies."""
    said = read_summary(project.root / "results" / "data").get("sentences") or ()
    return "; ".join(said)[:MAX_TAG] or "none"


def _describe_model(name: str, model: Any, resolved: dict[str, Any]) -> str:
    """The description of a run: what the model is, its papers, what to look at, how to load it."""
    described = describe(sys.modules[type(model).__module__].__doc__)
    title = resolved.get("title", described.title or name)
    summary = resolved.get("summary", described.summary)
    parts = [f"**{title}**: {summary}" if summary else f"**{title}**"]
    if described.objective:
        parts.append(f"```\n{described.objective}\n```")
    parts += ["\n".join(f"- {paper}" for paper in described.papers)] if described.papers else []
    if model.family in LOOK_AT:
        parts.append(f"Look at {LOOK_AT[model.family]}.")
    return _note([*parts, f'`latentlab.load("{name}")` loads it in Python.'])


def _note(parts: Iterable[str]) -> str:
    return "\n\n".join([*parts, f"The comparison of all models is in `{PAGE}` of the project."])
