"""Stage tasks@<name>: configs/tasks/<name>.yaml → results/tasks/<name> and an MLflow run."""

from __future__ import annotations

import time
from typing import Any

from latentlab import tracking
from latentlab.config import Project, load_project, load_task
from latentlab.contracts import LatentlabError
from latentlab.data.prepared import read_meta, read_split
from latentlab.evaluation import yardsticks
from latentlab.files import fresh_folder, write_json
from latentlab.findings import Finding, write_finding
from latentlab.stages import UNTRACKED
from latentlab.tasks import Context
from latentlab.trained import load_trained


def main(argv: list[str]) -> None:
    (name,) = argv
    start = time.perf_counter()
    project = load_project()
    if name not in project.tasks:
        listed = ", ".join(sorted(project.tasks)) or "none"
        raise LatentlabError(f"no task {name!r} under `tasks` of params.yaml: listed: {listed}")
    task, resolved = load_task(name, project.root)
    tracking.check_store(project.root)
    finding = task.run(context(project, project.tasks[name]["model"]))
    folder = project.root / "results" / "tasks" / name
    with fresh_folder(folder) as fresh:
        write_finding(finding, fresh / "finding")
        write_json(fresh / "metrics.json", dict(finding.numbers))
        seconds = round(time.perf_counter() - start, 2)
        write_json(fresh / "cost.json", {"task_seconds": seconds})
    track(project, name, resolved, finding, seconds)


def context(project: Project, model: str) -> Context:
    """Data, judge and the trained model that the task is about."""
    yard = yardsticks(project, load_trained("judge", project=project.root).module)
    trained = load_trained(model, project=project.root)
    val = read_split(project.prepared, "val")
    return Context(project, read_meta(project.prepared), yard, val, trained)


def track(
    project: Project, name: str, resolved: dict[str, Any], finding: Finding, seconds: float
) -> None:
    """A run of its own, beside those of the models."""
    folder = project.root / "results" / "tasks" / name
    run = tracking.open_run(
        project.root,
        experiment=f"latentlab-{project.data.name}",
        name=name,
        params={"seed": project.seed, "uses": project.tasks[name]["model"], **resolved},
        tags={**tracking.run_tags(project.root), "family": "task"},
    )
    run.log_final({"task": dict(finding.numbers), "task_seconds": seconds})
    run.set_tags({"flags": "; ".join(finding.flags) or "none"})
    run.log_artifact(folder, "report")
    if not run.finish("FINISHED"):
        raise SystemExit(UNTRACKED)
