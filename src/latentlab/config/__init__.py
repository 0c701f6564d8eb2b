"""YAML files or a run folder → a typed, seeded experiment.

project      params.yaml → Project: the settings that all models share
experiment   params.yaml + configs/<name>.yaml → Experiment: one model
run_folder   runs/<name> → Experiment with trained weights
settings     the sections of params.yaml as dataclasses
selection    the sections `models` and `tasks` of params.yaml, written from configs/
seeds        several trainings of one model: names, stages, allowed seeds
template     `latentlab init`: the files of a new project
model_contract   a model without a member of contracts.Model is refused before training
parser       class names and arguments → objects, by jsonargparse
plain        settings that have their declared types already, without jsonargparse
ranges       numbers of a configuration that are not possible, by the names of their keys
allowed, keys, model_size   which classes may be named, which keys exist, what fits into memory
goals        what a project is for: models, tasks, columns of the page
yaml_edit    change values of a YAML file and keep its comments
yaml_files   YAML, read strictly: no key twice, no tags, no aliases
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
