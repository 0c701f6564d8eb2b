"""Stage reference: data/prepared + runs/classifier → data/reference, results/reference.

data/reference has the features of the real test images and the PCA of the training images, which
every evaluation reads. results/reference has the metrics of the baselines.
"""

from __future__ import annotations

from latentlab.config import load_project
from latentlab.evaluation.baselines import dataset_card, score_baselines
from latentlab.evaluation.evaluator import make_evaluator, save_reference
from latentlab.evaluation.images import data_images
from latentlab.inference.trained import load_trained
from latentlab.metrics.pca import PCA
from latentlab.utils.files import fresh_folder, write_arrays, write_json
from latentlab.visualization.grids import save_grid


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    evaluator = make_evaluator(project, load_trained("classifier", project=project.root).module)
    real, pca = evaluator.real_features(), PCA.fit(evaluator.train)
    with fresh_folder(project.reference) as fresh:
        save_reference(fresh / "reference.pt", real, pca)
    metrics = score_baselines(evaluator, real=real, pca=pca)
    with fresh_folder(project.root / "results" / "reference") as fresh:
        write_json(fresh / "metrics.json", metrics)
        write_json(fresh / "card.json", dataset_card(evaluator))
        write_arrays(fresh / "images.npz", data_images(evaluator))
        images = next(evaluator.test.first(64).batches())
        save_grid(images, fresh / "originals.png", columns=8)
