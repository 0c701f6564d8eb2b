"""Stage classifier: data/prepared + configs/classifier.yaml → runs/classifier.

Its accuracy and its features measure every model. For data without labels it stays untrained.
"""

from __future__ import annotations

from typing import Any

from latentlab.config import load_experiment, load_project
from latentlab.config.suitability import capped_batch
from latentlab.contracts import to_float
from latentlab.data.prepared import read_meta
from latentlab.training import FitResult, History, data_module, fit
from latentlab.training.resume import (
    find_resume_point,
    fingerprint,
    lock_work_folder,
    remove_work_folder,
    work_folder,
)
from latentlab.training.write_run import write_run

MAX_SCALE_IMAGES = 2000  # training images that set the scale of the features


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    dataset = read_meta(project.prepared)
    experiment = load_experiment("classifier", dataset.data_spec, project.root)
    experiment = capped_batch(experiment, dataset.counts["train"])
    work = work_folder(project.root, "classifier", fingerprint(experiment.resolved, dataset.sha256))
    data = data_module(experiment)
    with lock_work_folder(work):
        if dataset.num_classes >= 2:
            fitted = fit(experiment, data, work=work, resume=find_resume_point(work))
        else:
            print("classifier: the data have no labels, so it is not trained")
            fitted = FitResult(History(), {}, 0, "cpu", True)
        if fitted.is_main_process:
            images = data.split("train").some(MAX_SCALE_IMAGES, seed=0)
            model: Any = experiment.model.cpu().eval()
            model.fit_feature_scale(to_float(images.images))
            write_run(experiment, dataset, fitted, run_id="")
            remove_work_folder(work)
