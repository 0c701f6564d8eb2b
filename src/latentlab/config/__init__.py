"""Two YAML files → one typed, seeded experiment.

experiment   params.yaml + configs/<name>.yaml → Project, Experiment
settings     the sections of params.yaml, typed and checked
building     class names and arguments → modules: what may be named, how large it may be
yamls        strict YAML: no key twice, no tags, no anchors that explode
"""

from latentlab.config.experiment import (
    Experiment,
    Project,
    allowed_packages,
    build,
    find_root,
    load_experiment,
    load_project,
    load_task,
    seed_all,
)
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
