"""Tasks: what the models are for. One file each, set up by configs/tasks/<name>.yaml.

A task is a dataclass and a `contracts.Task`: its fields are the settings, `run` does it and
returns what it found, a `findings.Finding`. Tasks
see data and trained models through a Context, and build fresh models from their configs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentlab.config import Project, load_experiment
from latentlab.contracts import Split
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks
from latentlab.trained import Trained


@dataclass(frozen=True)
class Context:
    """What a task works with. `trained` is the model it is about; `yard` has train and test."""

    project: Project
    meta: Meta
    yard: Yardsticks
    val: Split
    trained: Trained

    @property
    def seed(self) -> int:
        return self.project.seed

    def fresh(self, name: str | None = None) -> Any:
        """A new, untrained model, seeded: by default of the class and settings of `trained`."""
        name = self.trained.name if name is None else name
        return load_experiment(name, self.meta.facts, self.project.root).model
