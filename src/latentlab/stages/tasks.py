"""Stage tasks@<name>: configs/tasks/<name>.yaml → results/tasks/<name>, and an MLflow run."""

from __future__ import annotations

import time

from latentlab import tracking
from latentlab.config import Project, load_project, load_task
from latentlab.data.prepared import read_split
from latentlab.evaluation.evaluator import make_evaluator
from latentlab.evaluation.results import write_result
from latentlab.inference.trained import load_trained
from latentlab.stages.mlflow_runs import log_task
from latentlab.tasks.common.context import Context
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import fresh_folder, write_json


def main(argv: list[str]) -> None:
    (name,) = argv
    start, project = time.perf_counter(), load_project()
    if name not in project.tasks:
        listed = ", ".join(sorted(project.tasks)) or "none"
        raise LatentlabError(f"params.yaml has no task {name!r} under `tasks`; it has: {listed}")
    task, resolved = load_task(name, project.root)
    tracking.check_store(project.root)
    model = project.tasks[name]["model"]
    result = task.run(context(project, model))
    with fresh_folder(project.root / "results" / "tasks" / name) as fresh:
        write_result(result, fresh / "result")
        write_json(fresh / "metrics.json", dict(result.metrics))
        seconds = round(time.perf_counter() - start, 2)
        write_json(fresh / "cost.json", {"task_seconds": seconds})
    settings = {"seed": project.seed, "model": model, **resolved}
    log_task(project, name, settings, result, seconds)


def context(project: Project, model: str) -> Context:
    classifier = load_trained("classifier", project=project.root).module
    trained = load_trained(model, project=project.root)
    val = read_split(project.prepared, "val")
    return Context(project, make_evaluator(project, classifier), val, trained)
