"""The input of a task: the project, the data and one trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentlab.config import Project, load_experiment
from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation.evaluator import Evaluator
from latentlab.inference.trained import TrainedModel


@dataclass(frozen=True)
class Context:
    """`evaluator` has the train and the test split, `trained` is the `model` of params.yaml."""

    project: Project
    evaluator: Evaluator
    val: Split
    trained: TrainedModel

    @property
    def seed(self) -> int:
        return self.project.seed

    @property
    def dataset(self) -> DatasetInfo:
        return self.evaluator.dataset

    def untrained_model(self) -> Any:
        """A new model with the class and the settings of `trained`, and seeded initial weights."""
        return load_experiment(self.trained.name, self.dataset.data_spec, self.project.root).model
