"""Stage judge: train the classifier, then measure once what every evaluation compares with.

data/prepared + configs/judge.yaml → runs/judge (the classifier), data/reference (features of the
real test images, PCA of the training images), results/reference (real-against-real floors and the
baselines that use no training).
"""

from __future__ import annotations

import torch

from latentlab.config import Project, load_experiment, load_project
from latentlab.contracts import Split
from latentlab.data.prepared import read_meta
from latentlab.evaluation import Yardsticks, save_reference, yardsticks
from latentlab.files import fresh_folder, write_json
from latentlab.metrics.pca import PCA
from latentlab.plots import save_grid
from latentlab.runs import write_run
from latentlab.training import Fitted, History, data_module, fit
from latentlab.training.checkpoints import clear, fingerprint, resumable, work_folder


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    meta = read_meta(project.prepared)
    experiment = load_experiment("judge", meta.facts, project.root)
    work = work_folder(project.root, "judge", fingerprint(experiment.resolved, meta.sha256))
    data = data_module(experiment)
    if meta.num_classes >= 2:
        fitted = fit(experiment, data, work=work, resume=resumable(work))
    else:
        print("judge: the data have no labels, so it stays untrained and names no classes")
        fitted = Fitted(History(), {}, "cpu", True)
    if not fitted.is_main_process:
        return
    write_run(experiment, meta, fitted, run_id="")
    measure(project, yardsticks(project, experiment.model.cpu()))
    clear(work)


def measure(project: Project, yard: Yardsticks) -> None:
    """Write data/reference and results/reference."""
    real, pca = yard.real_features(), PCA.fit(yard.train)
    with fresh_folder(project.reference) as fresh:
        save_reference(fresh / "reference.pt", real, pca)

    generator = torch.Generator().manual_seed(yard.settings.seed)
    count = yard.num_samples
    noise = torch.rand((count, *yard.meta.image_shape), generator=generator)
    others = torch.randperm(len(yard.train), generator=generator)[:count].sort().values
    floor = Split(yard.train.images[others])
    metrics = {
        "real": {
            **yard.score_samples(floor, real),
            **_judge_accuracy(yard),
        },
        "pca_gaussian": yard.score_pca(pca, min(32, pca.components.shape[1]), real),
        "noise": yard.score_samples(noise, real),
        "pixels": yard.score_features(lambda x: x.flatten(1)),
    }
    meta = yard.meta
    card = {
        "data": meta.name,
        "counts": meta.counts,
        "classes": meta.classes,
        "image_shape": list(meta.image_shape),
        "features": yard.eyes_name,
        "num_samples": count,
        "floor_samples": len(floor),
        "split_seed": meta.seed,
        "data_sha256": meta.sha256,
        "unreadable": list(meta.unreadable),
    }
    with fresh_folder(project.root / "results" / "reference") as fresh:
        write_json(fresh / "metrics.json", metrics)
        write_json(fresh / "card.json", card)
        originals = next(yard.test.first(64).batches())
        save_grid(originals, fresh / "originals.png", columns=8)


def _judge_accuracy(yard: Yardsticks) -> dict[str, float]:
    """The judge on the originals: what reconstructions can hope for."""
    if yard.judge is None:
        return {}
    scores = yard.score_reconstructions(yard.test, lambda x: x)
    return {"judge_accuracy": scores["judge_accuracy"]}
