"""The images of the comparison page: the arrays of images.npz."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import latentlab
from latentlab.config import load_project
from latentlab.contracts import Split, to_float
from latentlab.evaluation.images import (
    data_images,
    interpolate,
    model_images,
    pixels,
    read_images,
)
from latentlab.evaluation.outputs import Outputs
from latentlab.evaluation.setup import make_evaluator
from latentlab.utils.files import write_arrays


@pytest.fixture(scope="module")
def evaluator(tiny):
    classifier = latentlab.load("classifier", project=tiny.root).module
    return make_evaluator(load_project(tiny.root), classifier)


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


def test_pixels_have_the_channels_last_and_nan_is_black():
    images = torch.tensor([0.0, 0.5, 1.0, float("nan"), -1.0, 2.0]).reshape(1, 3, 1, 2)
    assert pixels(images).tolist() == [[[[0, 255, 0], [128, 0, 255]]]]


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_the_stage_writes_the_images_of_the_metrics(tiny, evaluator, name):
    stored = read_images(tiny.root / "results" / name / "images.npz")
    shape, count = (8, 8, 1), len(evaluator.test)
    assert stored["samples"].shape == (64, *shape)
    assert stored["interpolations"].shape == (6, 10, *shape)
    assert (stored["map"].shape, stored["map"].dtype) == ((count, 2), np.float32)
    assert not {"map_is_code", "plane"} & set(stored)
    assert {a.dtype for k, a in stored.items() if k in ("samples", "reconstructions")} == {
        np.dtype(np.uint8)
    }
    trained = latentlab.load(name, project=tiny.root)
    trained = replace(trained, evaluation=evaluator.settings)
    seed, num = evaluator.settings.seed, evaluator.num_samples
    assert (stored["samples"] == pixels(trained.sample(num, seed=seed)[:64])).all()
    reconstructed = count if name == "vae" else 20  # latent inversion of a part of the images
    assert len(stored["reconstructions"]) == reconstructed
    x = to_float(evaluator.test.images[:reconstructed])
    assert np.abs(stored["reconstructions"] - 1.0 * pixels(trained.reconstruct(x))).max() <= 1


class Plane:
    """An autoencoder whose code is two numbers, of which it makes an image of two pixels."""

    family, latent_dim = "AE", 2

    def encode(self, x):
        return x.flatten(1)[:, :2]

    def decode(self, z):
        return z.unflatten(1, (1, 1, 2))

    def features(self, x):
        return self.encode(x)


def outputs_of(codes):
    images = codes.unflatten(1, (1, 1, 2))
    return Outputs(images[:64], images[:20], images[:20], codes, codes, None)


def test_the_plane_of_two_latents_is_decoded_and_its_codes_are_the_map(evaluator, tmp_path):
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand((500, 2), generator=generator) * torch.tensor([0.5, 1.0])
    trained = Doubling()
    trained.module, trained.folder = Plane(), tmp_path
    arrays = model_images(trained, evaluator, outputs_of(codes))
    assert arrays["map_is_code"] == 1
    assert (arrays["map"] == codes.numpy()).all()
    assert arrays["plane"].shape == (21, 21, 1, 2, 1)
    across, down = (arrays["plane"][:, :, 0, i, 0] / 255 for i in range(2))
    np.testing.assert_allclose(across, np.tile(arrays["plane_x"], (21, 1)), atol=0.003)
    np.testing.assert_allclose(down, np.tile(arrays["plane_y"][:, None], (1, 21)), atol=0.003)
    assert 0 < arrays["plane_x"][0] < 0.02
    assert 0.48 < arrays["plane_x"][-1] < 0.5
    assert arrays["plane_x"].dtype == arrays["plane_y"].dtype == np.float32


def test_the_samples_of_the_training_are_copied(evaluator, tmp_path):
    frames = np.arange(64, dtype=np.uint8).reshape(2, 16, 1, 2, 1)
    write_arrays(tmp_path / "training_samples.npz", {"training_samples": frames})
    trained = Doubling()
    trained.module, trained.folder = Plane(), tmp_path
    arrays = model_images(trained, evaluator, outputs_of(torch.rand(500, 2)))
    assert (arrays["training_samples"] == frames).all()


def test_the_test_images_and_their_labels(tiny, evaluator):
    stored = read_images(tiny.root / "results" / "reference" / "images.npz")
    count = min(200, len(evaluator.test))
    assert (stored["originals"][..., 0] == evaluator.test.images[:count, 0].numpy()).all()
    assert stored["labels"].tolist() == evaluator.test.labels[:500].tolist()
    bare = replace(evaluator, test=Split(evaluator.test.images))
    assert set(data_images(bare)["labels"].tolist()) == {-1}
