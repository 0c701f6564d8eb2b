"""`latentlab check`: all that cannot work in a project, in one list, without training.

Each part is checked alone, so one error hides no other. The models are built for images of the
shape of data/prepared, or of the source of the settings if that is known. Stage prepare does the
same as its last step, so a pipeline stops before its first training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentlab.config.check_settings import allowed, mapping, shared_settings
from latentlab.config.data_facts import DataFacts, data_facts
from latentlab.config.experiment import Experiment, experiment_of, task_of
from latentlab.config.keys import nearest
from latentlab.config.problems import PARAMS, Report
from latentlab.config.project import parse_project
from latentlab.config.seeds import Training
from latentlab.config.selection import CLASSIFIER, model_names, task_names
from latentlab.config.settings import EvaluationSettings, TrainerSettings
from latentlab.config.suitability import (
    count_notes,
    count_problems,
    is_unsuitable,
    reason_of,
    require_suitable,
    task_problem,
)
from latentlab.config.yaml_files import read_yaml
from latentlab.contracts import Encoder
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted


def check_project(root: Path, names: Sequence[str] = ()) -> Report:
    """Check params.yaml, the data, and the models and tasks `names` (default: those listed).

    Raise LatentlabError for a name that configs/ does not have.
    """
    report = Report()
    content = report.attempt(PARAMS, read_yaml, root / PARAMS)
    if content is None:
        return report
    shared = shared_settings(root, content, report)
    listed_models, listed_tasks = (mapping(content.get(key)) for key in ("models", "tasks"))
    models, tasks = _chosen(root, names, listed_models, listed_tasks)
    facts = data_facts(root, shared, report)
    checker = _Checker(root, shared, allowed(root, report), facts, report)
    for name in models:
        checker.check_model(name)
    for name in tasks:
        checker.check_task(name)
    checker.check_counts()
    count = len(models) - (CLASSIFIER in models)
    also = ", the classifier" if CLASSIFIER in models else ""
    report.checked = f"{counted(count, 'model')}{also} and {counted(len(tasks), 'task')}"
    return report


def _chosen(
    root: Path, names: Sequence[str], models: Mapping[str, Any], tasks: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """The models, the classifier among them, and the tasks to check."""
    if not names:
        return [CLASSIFIER, *models], list(tasks)
    names = list(dict.fromkeys(Training.parse(name).model for name in names))
    known_models = {*model_names(root), CLASSIFIER, *models}
    known_tasks = {*task_names(root), *tasks}
    for name in names:
        if name not in known_models | known_tasks:
            close = nearest(name, known_models | known_tasks)
            hint = f"did you mean {close!r}? " if close else ""
            raise LatentlabError(
                f"unknown model or task {name!r}: {hint}configs/ has"
                f" {', '.join(sorted(known_models))}; tasks: {', '.join(sorted(known_tasks))}"
            )
    return [n for n in names if n in known_models], [n for n in names if n in known_tasks]


@dataclass
class _Checker:
    """Checks one model or task after the other.

    `has_encoder`, `trainers`: model → whether it has one, and its settings, if the data suit it.
    """

    root: Path
    shared: Mapping[str, Any]
    allow: Sequence[str]
    facts: DataFacts
    report: Report
    has_encoder: dict[str, bool] = field(default_factory=dict)
    trainers: dict[str, TrainerSettings] = field(default_factory=dict)

    def check_model(self, name: str) -> None:
        def build(data_spec: Mapping[str, Any]) -> Experiment:
            return experiment_of(name, data_spec, self.root, shared=self.shared, allow=self.allow)

        spec, file = self.facts.data_spec, f"configs/{name}.yaml"
        try:
            experiment = build(spec)
            if name != CLASSIFIER:
                require_suitable(experiment, spec)
        except LatentlabError as error:
            reason = reason_of(name, error)
            if name != CLASSIFIER and is_unsuitable(build):
                self.leave_out(name, file, reason)
            else:
                self.report.add(file, reason)
            return
        if name != CLASSIFIER or self.facts.num_classes >= 2:  # without labels it is not trained
            self.trainers[name] = experiment.trainer
        self.has_encoder[name] = isinstance(experiment.model, Encoder)

    def check_task(self, name: str) -> None:
        file = f"configs/tasks/{name}.yaml"
        loaded = self.report.attempt(
            file, task_of, name, self.root, shared=self.shared, allow=self.allow
        )
        if loaded is None:
            return
        model = mapping(mapping(self.shared.get("tasks")).get(name)).get("model")
        if model in self.report.unsuitable:
            reason = f"it reads the model {model!r}, which does not suit the data"
            self.leave_out(name, file, f"{reason}: set another `model`, or remove the task")
        elif problem := task_problem(loaded[0], self.facts, self.has_encoder.get(str(model))):
            self.leave_out(name, file, problem)

    def check_counts(self) -> None:
        content = {key: self.shared[key] for key in ("seed", "evaluation") if key in self.shared}
        project = self.report.attempt(PARAMS, parse_project, self.root, content, PARAMS)
        evaluation = project.evaluation if project else EvaluationSettings()
        for message in count_problems(self.facts, evaluation):
            self.report.add(PARAMS, message)
        self.report.notes += count_notes(self.facts, evaluation, self.trainers)

    def leave_out(self, name: str, file: str, reason: str) -> None:
        """Note a model or a task that the data do not suit; a problem, unless it may be skipped."""
        self.report.unsuitable[name] = reason
        if self.shared.get("on_unsuitable") == "skip":
            self.report.notes.append(f"{file}: left out (on_unsuitable: skip): {reason}")
        else:
            self.report.add(file, reason)
