"""Latent arithmetic where the code is the image."""

from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import FlattenedImage, evaluator_of, on_2x2, two_clusters
from latentlab.contracts import Split
from latentlab.diagnostics import latent_arithmetic
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE


def test_intensity_direction_is_the_difference_of_the_outer_thirds():
    x = torch.linspace(0, 1, 9)[torch.randperm(9)].view(9, 1, 1, 1).expand(9, 1, 2, 2)
    codes = torch.stack([10 * x[:, 0, 0, 0], torch.ones(9)], 1)
    direction = latent_arithmetic.intensity_direction(x, codes)
    torch.testing.assert_close(direction, torch.tensor([7.5, 0.0]))


def test_exchanging_class_means_moves_the_mean_of_a_class_onto_the_others():
    labels = torch.tensor([2, 2, 5, 5, 5, 9])
    z = torch.randn(6, 3, dtype=torch.float64)
    means, present = latent_arithmetic.class_means(z, labels)
    assert present.tolist() == [2, 5, 9]
    changed = latent_arithmetic.exchange_class(z, labels, means, present)
    for k in range(3):
        torch.testing.assert_close(changed[k, 2:5].mean(0), z[labels == present[k]].mean(0))
    torch.testing.assert_close(changed[1, 2:5], z[2:5])


def test_mean_intensity_increases_along_the_direction():
    model = FlattenedImage()
    model.posterior = lambda x: (x.flatten(1), x.flatten(1))
    assert latent_arithmetic.applies(model)
    metrics = latent_arithmetic.diagnose(on_2x2(model), evaluator_of(two_clusters())).metrics
    assert metrics["mean_intensity_at_-2"] < metrics["mean_intensity_at_-1"]
    assert metrics["mean_intensity_at_-1"] < metrics["mean_intensity_at_1"]


def test_class_transfer_does_not_count_images_of_the_target_class():
    """A classifier that always answers 0: correct for the images of class 1 that become 0."""
    split = Split(two_clusters(40), torch.arange(40) // 30)
    evaluator = evaluator_of(split.images)
    evaluator.train = evaluator.test = split
    evaluator.classifier = lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2)
    result = latent_arithmetic.diagnose(on_2x2(FlattenedImage()), evaluator)
    assert result.metrics["class_transfer_accuracy"] == pytest.approx(10 / 40)
    assert [figure.name for figure in result.figures] == ["intensity", "classes"]
    evaluator.train = evaluator.test = split.first(20)  # one class: there is no other class
    result = latent_arithmetic.diagnose(on_2x2(FlattenedImage()), evaluator)
    assert "class_transfer_accuracy" not in result.metrics


def test_a_fifth_of_the_test_images_gets_other_codes():
    """At least 100 images. The number is in the summary."""
    for count, expected in ((90, 90), (300, 100), (600, 120), (4000, 500)):
        result = latent_arithmetic.diagnose(
            on_2x2(FlattenedImage()), evaluator_of(two_clusters(count))
        )
        assert f"the codes of {expected} test images" in result.summary


def test_applies_to_gaussian_posteriors_only():
    assert latent_arithmetic.applies(VAE((1, 8, 8)))
    assert not latent_arithmetic.applies(VQVAE((1, 8, 8), width=2))
    assert not latent_arithmetic.applies(SimpleNamespace())


def test_the_direction_of_few_images_is_that_of_the_brightest_and_the_darkest():
    """With 2 to 5 images, a third is one image."""
    for count in (2, 4, 5):
        level = torch.linspace(0, 1, count).flip(0)
        direction = latent_arithmetic.intensity_direction(
            level.view(-1, 1, 1, 1).expand(-1, 1, 2, 2), 10 * level[:, None].square()
        )
        assert direction.tolist() == pytest.approx([10])


def test_an_image_of_a_class_without_training_images_can_be_changed():
    z, labels = torch.rand(2, 3), torch.tensor([2, 9])
    means, present = torch.rand(2, 3), torch.tensor([2, 5])
    changed = latent_arithmetic.exchange_class(z, labels, means, present)
    for k in range(2):
        torch.testing.assert_close(changed[k], z + means[k] - means)  # 9 counts as the last class
