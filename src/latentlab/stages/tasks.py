"""Stage tasks@<name>: configs/tasks/<name>.yaml → results/tasks/<name>, and an MLflow run."""

from __future__ import annotations

import sys
import time

from latentlab import tracking
from latentlab.config import Project, load_project, load_task
from latentlab.config.data_facts import prepared_facts
from latentlab.config.run_folder import skipped_reason
from latentlab.config.suitability import task_problem
from latentlab.contracts import Task
from latentlab.data.prepared import read_split
from latentlab.evaluation.results import Result, write_result
from latentlab.evaluation.setup import make_evaluator
from latentlab.inference.trained import load_trained
from latentlab.stages.mlflow_runs import log_task
from latentlab.tasks.common.context import Context
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import fresh_folder, write_json

SKIPPED = "left out"  # the warning of a task that the data do not suit


def main(argv: list[str]) -> None:
    (name,) = argv
    start, project = time.perf_counter(), load_project()
    if name not in project.tasks:
        listed = ", ".join(sorted(project.tasks)) or "none"
        raise LatentlabError(f"params.yaml has no task {name!r} under `tasks`; it has: {listed}")
    task, resolved = load_task(name, project.root)
    model = project.tasks[name]["model"]
    reason = _unsuitable(project, task, model)
    if reason is None:
        tracking.check_store(project.root)
        result = task.run(context(project, model))
    elif project.on_unsuitable == "skip":
        print(f"{name} is left out (on_unsuitable: skip): {reason}", file=sys.stderr)
        result = Result(
            name, f"Left out, as the data do not suit it: {reason}.", warnings=[SKIPPED]
        )
    else:
        raise LatentlabError(f"{name}: {reason}")
    with fresh_folder(project.root / "results" / "tasks" / name) as fresh:
        write_result(result, fresh / "result")
        write_json(fresh / "metrics.json", dict(result.metrics))
        seconds = round(time.perf_counter() - start, 2)
        write_json(fresh / "cost.json", {"task_seconds": seconds})
    if reason is None:
        settings = {"seed": project.seed, "model": model, **resolved}
        log_task(project, name, settings, result, seconds)


def _unsuitable(project: Project, task: Task, model: str) -> str | None:
    """Why the task cannot run on these data; None if it can. Its model may have been left out."""
    if skipped_reason(project.root / "runs" / model):
        return f"it reads the model {model!r}, which was left out"
    return task_problem(task, prepared_facts(project.prepared), None)


def context(project: Project, model: str) -> Context:
    classifier = load_trained("classifier", project=project.root).module
    trained = load_trained(model, project=project.root)
    val = read_split(project.prepared, "val")
    return Context(project, make_evaluator(project, classifier), val, trained)
