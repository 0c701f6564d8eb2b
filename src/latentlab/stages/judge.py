"""Stage judge: train the classifier whose features and verdicts every model is measured by.

data/prepared + configs/judge.yaml → runs/judge.
"""

from __future__ import annotations

from pathlib import Path

from latentlab.config import Experiment, load_experiment, load_project
from latentlab.data.module import ImageDataModule
from latentlab.data.prepared import read_meta
from latentlab.runs import write_run
from latentlab.training import Fitted, History, data_module, fit
from latentlab.training.resume import clear, fingerprint, resumable, sole, work_folder


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    meta = read_meta(project.prepared)
    experiment = load_experiment("judge", meta.facts, project.root)
    work = work_folder(project.root, "judge", fingerprint(experiment.resolved, meta.sha256))
    data = data_module(experiment)
    with sole(work):
        judge(experiment, data, work)


def judge(experiment: Experiment, data: ImageDataModule, work: Path) -> None:
    """Train from where `work` stands, write runs/judge."""
    meta = data.meta
    if meta.num_classes >= 2:
        fitted = fit(experiment, data, work=work, resume=resumable(work))
    else:
        print("judge: the data have no labels, so it stays untrained and names no classes")
        fitted = Fitted(History(), {}, "cpu", True)
    if not fitted.is_main_process:
        return
    write_run(experiment, meta, fitted, run_id="")
    clear(work)
