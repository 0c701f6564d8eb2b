"""The MLflow runs of the stages: one run for each model and each task.

Stage train opens the run of a model, stage evaluate continues it. Nothing here changes a result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentlab import tracking
from latentlab.config import Experiment, Project
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation.results import Result
from latentlab.inference.trained import TrainedModel
from latentlab.stages import UNTRACKED
from latentlab.training import FitResult
from latentlab.training.resume import ResumePoint


def open_training(
    experiment: Experiment, dataset: DatasetInfo, resume: ResumePoint | None
) -> tracking.AnyRun:
    """Open a run, or continue that of the checkpoint and send what it lacks."""
    root, family = experiment.project.root, str(experiment.model.family)
    arguments: dict[str, Any] = {
        "experiment": f"latentlab-{dataset.name}",
        "name": experiment.name,
        "params": experiment.resolved,
        "tags": {**tracking.run_tags(root), "data.sha256": dataset.sha256, "family": family},
    }
    if resume is None:
        return tracking.open_run(root, **arguments)
    run = tracking.continue_run(root, resume.run_id, **arguments)
    run.log_missing(resume.rows, experiment.trainer.batch_size)
    return run


def finish_training(
    run: tracking.AnyRun, folder: Path, fitted: FitResult, dataset: DatasetInfo
) -> None:
    """Add the cost and the trained model. Exit with code 3 if MLflow did not store all of it."""
    run.log_final(fitted.cost)
    run.set_tags({"device": fitted.device})
    run.log_artifact(folder / "weights.pt")
    run.log_model(folder, image_shape=dataset.image_shape)
    _finish(run)


def add_evaluation(
    project: Project,
    trained: TrainedModel,
    metrics: dict[str, Any],
    results: dict[str, Result],
    folder: Path,
) -> None:
    """Add metrics, warnings and files to the run of a model. Exit code 3 as `finish_training`."""
    run = tracking.continue_run(
        project.root,
        (trained.folder / "mlflow_run_id").read_text().strip(),
        experiment=f"latentlab-{project.data.name}",
        name=trained.name,
        params=trained.metadata["resolved"],
        tags={**tracking.run_tags(project.root), "data.sha256": trained.metadata["data_sha256"]},
    )
    run.log_final(metrics)
    warnings = [warning for result in results.values() for warning in result.warnings]
    run.set_tags({"warnings": "; ".join(warnings) or "none"})
    run.log_artifact(folder, "report")
    _finish(run)


def log_task(
    project: Project, name: str, settings: dict[str, Any], result: Result, seconds: float
) -> None:
    """Log the run of a task. Exit code 3 as `finish_training`."""
    run = tracking.open_run(
        project.root,
        experiment=f"latentlab-{project.data.name}",
        name=name,
        params=settings,
        tags={**tracking.run_tags(project.root), "family": "task"},
    )
    run.log_final({"task": dict(result.metrics), "task_seconds": seconds})
    run.set_tags({"warnings": "; ".join(result.warnings) or "none"})
    run.log_artifact(project.root / "results" / "tasks" / name, "report")
    _finish(run)


def _finish(run: tracking.AnyRun) -> None:
    if not run.finish("FINISHED"):
        raise SystemExit(UNTRACKED)
