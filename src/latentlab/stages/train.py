"""Stage train@<name>: data/prepared + configs/<name>.yaml → runs/<name>, and an open MLflow run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from latentlab import tracking
from latentlab.config import Experiment, allowed_packages, load_experiment, load_project
from latentlab.contracts import LatentlabError
from latentlab.data.module import ImageDataModule
from latentlab.data.prepared import Meta, read_meta, read_split
from latentlab.launcher import is_main_process
from latentlab.runs import find_run, fit_classes, fit_sampler, rebuild, write_run
from latentlab.stages import UNTRACKED
from latentlab.training import Fitted, data_module, fit
from latentlab.training.best import ValidationFID
from latentlab.training.resume import Resume, clear, fingerprint, resumable, sole, work_folder


def main(argv: list[str]) -> None:
    (name,) = argv
    project = load_project()
    meta = read_meta(project.prepared)
    experiment = load_experiment(name, meta.facts, project.root)
    tracking.check_store(project.root)
    data = data_module(experiment)
    work = work_folder(project.root, name, fingerprint(experiment.resolved, meta.sha256))
    with sole(work):
        train(experiment, data, work)


def train(experiment: Experiment, data: ImageDataModule, work: Path) -> None:
    """Fit from where `work` stands, write runs/<name>, tell MLflow."""
    resume, meta = resumable(work), data.meta
    fit_classes(experiment, read_split(experiment.project.prepared, "train"))
    run = open_run(experiment, meta, resume) if is_main_process() else None
    try:
        fitted = fit(experiment, data, work=work, run=run, resume=resume, score=scorer(experiment))
    except BaseException as error:
        if run is not None:
            run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    if run is None:
        return
    fit_sampler(experiment, read_split(experiment.project.prepared, "train"))
    folder = write_run(experiment, meta, fitted, run_id=run.id)
    if not publish(run, folder, fitted, meta):
        raise SystemExit(UNTRACKED)  # the checkpoint stays: the next time is only a delivery
    clear(work)


def scorer(experiment: Experiment) -> ValidationFID | None:
    """What tells the best moment of a training, if the model's settings ask for it."""
    if experiment.trainer.select == "last":
        return None
    sampler, root = experiment.sampler, experiment.project.root
    if sampler is None or sampler.learns:
        raise LatentlabError(
            f"{experiment.name}: trainer.select is best, which scores samples during the training,"
            " but the sampler is fitted after it: take select: last, or a sampler such as"
            " StandardNormal"
        )
    judge, _ = rebuild(find_run("judge", root), allow=allowed_packages(root))
    eyes = judge.model.eval().to(memory_format=torch.channels_last).features
    val = read_split(experiment.project.prepared, "val")
    return ValidationFID(eyes, val, sampler)  # type: ignore[arg-type]


def open_run(
    experiment: Experiment, meta: Meta, resume: Resume | None
) -> tracking.Run | tracking.RunByClerk:
    root = experiment.project.root
    family: str = experiment.model.family  # type: ignore[assignment]
    described: dict[str, Any] = {
        "experiment": f"latentlab-{meta.name}",
        "name": experiment.name,
        "params": experiment.resolved,
        "tags": {**tracking.run_tags(root), "data.sha256": meta.sha256, "family": family},
    }
    if resume is None:
        return tracking.open_run(root, **described)
    run = tracking.continue_run(root, resume.run_id, **described)
    run.catch_up(resume.rows, experiment.trainer.batch_size)
    return run


def publish(
    run: tracking.Run | tracking.RunByClerk, folder: Path, fitted: Fitted, meta: Meta
) -> bool:
    """Add the cost and the trained model; False if MLflow did not take all of the run."""
    run.log_final(fitted.cost)
    run.set_tags({"device": fitted.device})
    run.log_artifact(folder / "weights.pt")
    run.log_model(folder, image_shape=meta.image_shape)
    return run.finish("FINISHED")
