"""The figures of every model: four PNG files, made of the arrays of images.npz."""

from dataclasses import replace

import latentlab
from latentlab.config import load_project
from latentlab.evaluation.evaluate import evaluate
from latentlab.evaluation.figures import save_figures
from latentlab.evaluation.images import model_images
from latentlab.evaluation.reference import load_reference
from latentlab.evaluation.setup import make_evaluator


def test_all_four_are_written_and_equal_those_of_the_stage(tiny, tmp_path):
    project = load_project(tiny.root)
    classifier = latentlab.load("classifier", project=tiny.root).module
    evaluator = make_evaluator(project, classifier)
    reference = load_reference(tiny.root / "data" / "reference" / "reference.pt")
    trained = latentlab.load("dcgan", project=tiny.root)
    trained = replace(trained, evaluation=project.evaluation)
    _, outputs = evaluate(trained, evaluator, reference)
    images = model_images(trained, evaluator, outputs)
    save_figures(images, outputs, tmp_path, classes=evaluator.dataset.classes)
    names = {"samples", "reconstructions", "interpolations", "map"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in names}
    for path in tmp_path.iterdir():
        stored = tiny.root / "results" / "dcgan" / path.name
        assert path.read_bytes() == stored.read_bytes(), path.name
