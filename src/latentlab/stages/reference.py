"""Stage reference: measure once what every evaluation compares with.

data/prepared + runs/judge → data/reference (features of the real test images, PCA of the training
images), results/reference (real-against-real floors and the baselines that use no training).
"""

from __future__ import annotations

import torch

from latentlab.config import Project, load_project
from latentlab.contracts import Split
from latentlab.evaluation import Yardsticks, save_reference, yardsticks
from latentlab.files import fresh_folder, write_json
from latentlab.metrics.pca import PCA
from latentlab.plots import save_grid
from latentlab.trained import load_trained


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    measure(project, yardsticks(project, load_trained("judge", project=project.root).module))


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
