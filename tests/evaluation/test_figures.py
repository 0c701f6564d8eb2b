"""The figures of every model: four PNG files, and interpolation between codes."""

import torch
from PIL import Image

import latentlab
from latentlab.config import load_project
from latentlab.evaluation.evaluator import make_evaluator
from latentlab.evaluation.figures import interpolate, save_figures


class Doubling:
    """The model decodes codes of 2 values to images of the same 2 values."""

    module = object()

    def decode(self, z):
        return z.unflatten(1, (1, 1, 2))


def test_lines_between_neighbouring_codes():
    z = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.2], [0.4, 0.6], [9.0, 9.0]])
    images = interpolate(Doubling(), z, steps=3)
    assert images.shape == (2, 3, 1, 1, 2), "the last code has no neighbour"
    expected = torch.tensor([[[0, 1], [0.5, 0.5], [1, 0]], [[0.2, 0.2], [0.3, 0.4], [0.4, 0.6]]])
    torch.testing.assert_close(images.flatten(2), expected)


def test_a_model_may_interpolate_its_own_codes():
    class Steps:
        def interpolate(self, a, b, fraction):
            return a if fraction < 0.5 else b

    trained = Doubling()
    trained.module = Steps()
    z = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    images = interpolate(trained, z, steps=4).flatten(2)
    torch.testing.assert_close(images[0], torch.tensor([[0.0, 1], [0, 1], [1, 0], [1, 0]]))


def test_all_four_are_written_and_equal_those_of_the_stage(tiny, tmp_path):
    classifier = latentlab.load("classifier", project=tiny.root).module
    evaluator = make_evaluator(load_project(tiny.root), classifier)
    save_figures(latentlab.load("linear_ae", project=tiny.root), evaluator, tmp_path)
    names = {"samples", "reconstructions", "interpolations", "map"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in names}
    for path in tmp_path.iterdir():
        stored = tiny.root / "results" / "linear_ae" / path.name
        with Image.open(path) as ours, Image.open(stored) as theirs:
            assert ours.size == theirs.size
        assert path.read_bytes() == stored.read_bytes(), path.name
