"""`latentlab compare`: two models or more, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from latentlab.cli.output import stop

if TYPE_CHECKING:
    from latentlab.config import Project
    from latentlab.report.comparison import ModelResults
    from latentlab.report.difference_intervals import Measured


def compare(args: argparse.Namespace) -> None:
    """Print metrics of models, their differences to the first one, and differences of the configs.

    A difference has a 95 % interval where the results allow one: over several trainings of both
    models (more_seeds in params.yaml), else over the test images, which both have in common.
    """
    names: list[str] = list(dict.fromkeys(args.names))
    if len(names) < 2:
        stop(f"only one model ({names[0]}): give two or more")
    from dataclasses import replace

    from latentlab.config import load_project
    from latentlab.report.comparison import read_comparison
    from latentlab.report.differences import FORMATS, side_by_side

    project = load_project(args.project)
    _require_results(project, names)
    chosen = replace(project, models=dict.fromkeys(names, ""), tasks={})
    comparison = read_comparison(chosen, outdated=())
    notes = [_left_out(comparison.pending)] if comparison.pending else []
    models = [_measured(model, notes) for model in comparison.models]
    configs = [model.card.get("config") or {} for model in comparison.models]
    print(FORMATS[args.form](side_by_side(_of_equal_data(models, configs, notes), configs, notes)))


def _require_results(project: Project, names: Sequence[str]) -> None:
    """Stop at a name that is no config and has no results."""
    from latentlab.config.keys import nearest
    from latentlab.config.seeds import Training, stage_of
    from latentlab.config.selection import CLASSIFIER, model_names, task_names

    measured = sorted(p.parent.name for p in project.root.glob("results/*/cost.json"))
    known = {*model_names(project.root), *measured}
    for name in names:
        if name == CLASSIFIER or name in task_names(project.root):
            kind = "the classifier that measures the models" if name == CLASSIFIER else "a task"
            stop(f"{name} is {kind}, no model: give models; measured: {', '.join(measured)}")
        training = Training.parse(name)
        if name not in measured and training.seed is not None and training.model in known:
            stop(
                f"{name} is not measured yet: add {training.seed} to `more_seeds` in params.yaml,"
                f" then run `dvc repro {stage_of('evaluate', name)}`"
            )
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}? " if close else ""
            stop(f"unknown model {name!r}: {hint}measured: {', '.join(measured) or 'none'}")
        if name not in measured:
            stop(
                f"{name} is not measured yet: run `dvc repro {stage_of('evaluate', name)}`;"
                f" measured: {', '.join(measured) or 'none'}"
            )


def _left_out(pending: Sequence[str]) -> str:
    return f"Left out, as not measured with the present settings: {', '.join(pending)}."


def _measured(model: ModelResults, notes: list[str]) -> Measured:
    """The values of all trainings of a model, and those of single images, if they were stored."""
    from latentlab.config.seeds import Training
    from latentlab.report.ties import measured

    if not model.arrays:
        stage = Training.parse(model.row.name).stage("evaluate")
        notes.append(
            f"{model.row.name} has no values for each test image: `dvc repro -f {stage}` adds them."
        )
    return measured(model)


def _of_equal_data(
    models: list[Measured], configs: Sequence[dict[str, Any]], notes: list[str]
) -> list[Measured]:
    """Drop the values of images of models that were measured on other data than the first."""
    from dataclasses import replace

    found = []
    for model, config in zip(models, configs, strict=True):
        same = config.get("data") == configs[0].get("data")
        if not same:
            notes.append(f"{model.row.name} was measured on other data than {models[0].row.name}.")
        found.append(model if same else replace(model, arrays={}))
    return found
