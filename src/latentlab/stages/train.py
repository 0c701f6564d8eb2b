"""Stage train@<name>: data/prepared + configs/<name>.yaml → runs/<name>, and an open MLflow run.

With `on_unsuitable: skip`, a model that the data do not suit leaves only the reason in its folder.
Stage train_seed@<name>-<seed> is this stage for `<name>@<seed>`: the same config, another seed.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from latentlab import tracking
from latentlab.config import Experiment, load_experiment, load_project
from latentlab.config.suitability import capped_batch, is_unsuitable, reason_of, require_suitable
from latentlab.data.datamodule import ImageDataModule
from latentlab.data.prepared import read_meta
from latentlab.stages.mlflow_runs import finish_training, open_training
from latentlab.training import data_module, fit
from latentlab.training.best_checkpoint import validation_fid
from latentlab.training.fit_sampler import fit_classes, fit_sampler
from latentlab.training.resume import (
    find_resume_point,
    fingerprint,
    lock_work_folder,
    remove_work_folder,
    work_folder,
)
from latentlab.training.write_run import write_run, write_skipped_run
from latentlab.utils.errors import LatentlabError
from latentlab.utils.launch import is_main_process


def main(argv: list[str]) -> None:
    (name,) = argv
    project = load_project()
    dataset = read_meta(project.prepared)
    try:
        experiment = load_experiment(name, dataset.data_spec, project.root)
        require_suitable(experiment, dataset.data_spec)
    except LatentlabError as error:
        build = partial(load_experiment, name, root=project.root)
        if project.on_unsuitable != "skip" or not is_unsuitable(build):
            raise
        if is_main_process():
            reason = reason_of(name, error)
            write_skipped_run(project, name, reason)
            print(f"{name} is left out (on_unsuitable: skip): {reason}", file=sys.stderr)
        return
    experiment = capped_batch(experiment, dataset.counts["train"])
    tracking.check_store(project.root)
    data = data_module(experiment)
    work = work_folder(project.root, name, fingerprint(experiment.resolved, dataset.sha256))
    with lock_work_folder(work):
        train(experiment, data, work)


def train(experiment: Experiment, data: ImageDataModule, work: Path) -> None:
    """Train, resuming from the checkpoint in `work`; write runs/<name>; complete the MLflow run."""
    resume, train_split = find_resume_point(work), data.split("train")
    fit_classes(experiment, train_split)
    score = validation_fid(experiment)
    run = open_training(experiment, data.dataset, resume) if is_main_process() else None
    try:
        fitted = fit(experiment, data, work=work, run=run, resume=resume, score=score)
    except BaseException as error:
        if run is not None:
            run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    if run is None:
        return
    start = time.perf_counter()
    fit_sampler(experiment, train_split)
    fitted = fitted.with_sampler(time.perf_counter() - start)
    folder = write_run(experiment, data.dataset, fitted, run_id=run.id)
    finish_training(run, folder, fitted, data.dataset, work)
    # after finish_training: if MLflow lacks something, the next call sends it without training
    remove_work_folder(work)
