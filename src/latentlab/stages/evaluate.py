"""Stage evaluate@<name>: runs/<name> → results/<name>: metrics, diagnostics, figures, card.

Stage evaluate_seed@<name>-<seed> is this stage for the training `<name>@<seed>`.
"""

from __future__ import annotations

import time
from dataclasses import replace

from latentlab import tracking
from latentlab.config import Project, load_project
from latentlab.config.run_folder import skipped_reason
from latentlab.diagnostics import run_diagnostics
from latentlab.evaluation.evaluate import evaluate
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.folder import save_evaluation, save_skipped
from latentlab.evaluation.reference import load_reference
from latentlab.evaluation.setup import make_evaluator
from latentlab.inference.trained import TrainedModel, load_trained
from latentlab.stages.mlflow_runs import add_evaluation


def main(argv: list[str]) -> None:
    (name,) = argv
    start, project = time.perf_counter(), load_project()
    if reason := skipped_reason(project.root / "runs" / name):
        save_skipped(project.root / "results" / name, name, reason)
        return
    tracking.check_store(project.root)
    trained, evaluator = load(project, name)
    reference = load_reference(project.reference / "reference.pt")
    evaluator = replace(evaluator, stored=reference)
    metrics, outputs = evaluate(trained, evaluator, reference)
    trained = replace(trained, module=trained.module.cpu(), device="cpu")
    results = dict(run_diagnostics(trained, evaluator))
    metrics |= {key: dict(result.metrics) for key, result in results.items() if result.metrics}
    folder = project.root / "results" / name
    commit = tracking.commit_of(project.root)
    save_evaluation(
        folder,
        trained,
        evaluator,
        outputs,
        metrics=metrics,
        results=results,
        start=start,
        commit=commit,
    )
    add_evaluation(project, trained, metrics, results, folder)


def load(project: Project, name: str) -> tuple[TrainedModel, Evaluator]:
    trained = load_trained(name, project=project.root, device=project.hardware.scoring)
    # use the current evaluation settings, not those stored with the run
    trained = replace(trained, evaluation=project.evaluation)
    classifier = load_trained("classifier", project=project.root).module
    return trained, make_evaluator(project, classifier)
