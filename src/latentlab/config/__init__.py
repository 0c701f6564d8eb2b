"""Two YAML files → one typed, seeded experiment.

project      params.yaml → Project, what all models share
experiment   params.yaml + configs/<name>.yaml → Experiment, one model's
settings     the sections of params.yaml, typed and checked
building     class names and arguments → modules: what may be named, how large it may be
yamls        strict YAML: no key twice, no tags, no anchors that explode
"""

from latentlab.config.experiment import Experiment, build, load_experiment, load_task, seed_all
from latentlab.config.project import Project, allowed_packages, find_root, load_project
from latentlab.config.settings import EvaluationSettings, HardwareSettings, TrainerSettings

__all__ = [
    "EvaluationSettings",
    "Experiment",
    "HardwareSettings",
    "Project",
    "TrainerSettings",
    "allowed_packages",
    "build",
    "find_root",
    "load_experiment",
    "load_project",
    "load_task",
    "seed_all",
]
