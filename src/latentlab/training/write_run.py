"""Write the run folder of a trained model. config/run_folder.py reads it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch

from latentlab.config import Experiment, Project
from latentlab.config.run_folder import SKIPPED
from latentlab.config.seeds import Training
from latentlab.data.prepared import DatasetInfo
from latentlab.training.environment import environment
from latentlab.training.loop import FitResult
from latentlab.training.training_samples import write_training_samples
from latentlab.utils.files import fresh_folder, write_json


def write_run(
    experiment: Experiment, dataset: DatasetInfo, fitted: FitResult, *, run_id: str
) -> Path:
    """Write all files of runs/<name>, or none. `run_id`: of MLflow, empty without a run.

    If the best checkpoint was kept, it becomes the model. Raise LatentlabError if the disk is full.
    """
    folder = experiment.project.root / "runs" / experiment.name
    spec = {key: list(v) if isinstance(v, tuple) else v for key, v in dataset.data_spec.items()}
    description = {
        "name": experiment.name,
        "data_spec": spec,
        "data_sha256": dataset.sha256,
        "classes": list(dataset.classes) if dataset.classes else None,
        "whites": list(dataset.whites),
        "resolved": experiment.resolved,
        "device": fitted.device,
        "images_seen": fitted.images,
    }
    with fresh_folder(folder) as fresh:
        if fitted.best is not None:
            _save(experiment.model, fresh / "weights_last.pt")
            experiment.model.load_state_dict(fitted.best.weights)
            best = {"val_fid": fitted.best.value, "images": fitted.best.images}
            write_json(fresh / "best_checkpoint.json", best)
        _save(experiment.model, fresh / "weights.pt")
        if experiment.sampler is not None:
            _save(experiment.sampler, fresh / "sampler.pt")
        write_json(fresh / "experiment.json", description)
        write_json(fresh / "code.json", code_checksums(experiment.project, experiment.name))
        write_json(fresh / "cost.json", {**fitted.cost, "environment": environment()})
        write_training_samples(fresh / "training_samples.npz", fitted.samples)
        (fresh / "history.csv").write_text(fitted.history.csv())
        (fresh / "mlflow_run_id").write_text(run_id + "\n")
    return folder


def write_skipped_run(project: Project, name: str, reason: str) -> Path:
    """Write runs/<name> of a model that was not trained: the reason, and code.json for DVC."""
    folder = project.root / "runs" / name
    with fresh_folder(folder) as fresh:
        write_json(fresh / SKIPPED, {"name": name, "reason": reason})
        write_json(fresh / "code.json", code_checksums(project, name))
    return folder


def code_checksums(project: Project, name: str) -> dict[str, str]:
    """SHA-256 of the file that params.yaml lists for the model, or of each file of a folder.

    `train` of dvc.yaml watches this file as `${item}`. `train_seed`, a matrix, cannot look it up,
    and watches code.json of the first training instead. Empty for a model that is not listed.
    """
    root, listed = project.root, project.models.get(Training.parse(name).model)
    if listed is None:
        return {}
    paths = [root / listed, *(root / listed).rglob("*")]
    files = sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    return {
        Path(os.path.relpath(path, root)).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _save(module: torch.nn.Module, path: Path) -> None:
    with path.open("wb") as file:  # torch.save of a path hides the reason why a disk is full
        torch.save(module.cpu().state_dict(), file)
