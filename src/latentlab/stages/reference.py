"""Stage reference: data/prepared + runs/classifier → data/reference, results/reference.

data/reference has the features of the real test images and the PCA of the training images, which
every evaluation reads. results/reference has the metrics of the baselines.
"""

from __future__ import annotations

from latentlab.config import load_project
from latentlab.data.prepared import read_split
from latentlab.evaluation.baselines import dataset_card, score_baselines
from latentlab.evaluation.evidence import measure_evidence
from latentlab.evaluation.images import data_images
from latentlab.evaluation.reference import save_reference
from latentlab.evaluation.setup import make_evaluator
from latentlab.inference.trained import load_trained
from latentlab.metrics.pca import PCA
from latentlab.utils.files import fresh_folder, write_arrays, write_json
from latentlab.visualization.grids import save_grid


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    evaluator = make_evaluator(project, load_trained("classifier", project=project.root).module)
    reference = evaluator.reference(PCA.fit(evaluator.train))
    val = read_split(project.prepared, "val")
    with fresh_folder(project.reference) as fresh:
        save_reference(fresh / "reference.pt", reference)
    metrics = score_baselines(evaluator, reference, val)
    with fresh_folder(project.root / "results" / "reference") as fresh:
        write_json(fresh / "metrics.json", metrics)
        write_json(fresh / "evidence.json", measure_evidence(evaluator, metrics["real"], val))
        card = dataset_card(evaluator) | {"reference": reference.digest}
        write_json(fresh / "card.json", card)
        write_arrays(fresh / "images.npz", data_images(evaluator))
        images = next(evaluator.test.first(64).batches())
        save_grid(images, fresh / "originals.png", columns=8)
