"""Noise and classes: each has its own distribution, and they are independent."""

from types import SimpleNamespace

import pytest
import torch
from scipy.stats import chisquare, kstest

from latentlab.config.run_folder import load_weights
from latentlab.contracts import Split
from latentlab.models.conditional_gan import ConditionalGAN
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.samplers import ClassConditional, InfoGANPrior, with_class
from latentlab.training.fit_sampler import fit_classes
from latentlab.utils.errors import LatentlabError

LABELS = torch.tensor([0] * 6 + [1] * 3 + [3])  # of four classes, the third is missing


def with_num_classes(classes, sampler=ClassConditional):
    prior = sampler()
    prior.num_classes = classes
    return prior


def sample(count, dim, classes, seed=0):
    return with_num_classes(classes).sample((count, dim), torch.Generator().manual_seed(seed))


def class_counts(prior, count=8000):
    """Number of samples of each of four classes, with two values of noise, (4,)."""
    return prior.sample((count, 6), torch.Generator().manual_seed(0))[:, -4:].sum(0)


def experiment(model, sampler):
    return SimpleNamespace(name="some", model=model, sampler=sampler)


def test_noise_is_normal_and_classes_are_uniform_one_hot_rows():
    z = sample(6000, 7, 4)
    noise, classes = z[:, :3], z[:, 3:]
    assert kstest(noise.flatten().double().numpy(), "norm").pvalue > 0.01
    assert torch.equal(classes.sum(1), torch.ones(6000))
    assert set(classes.unique().tolist()) == {0.0, 1.0}
    assert chisquare(classes.sum(0).double().numpy()).pvalue > 0.01
    means = torch.stack([noise[classes[:, k] == 1].mean(0) for k in range(4)])
    assert float(means.abs().max()) < 4 / 1500**0.5, "noise and class are independent"


def test_the_seed_determines_the_sample():
    assert torch.equal(sample(50, 9, 3, seed=1), sample(50, 9, 3, seed=1))
    assert not torch.equal(sample(50, 9, 3, seed=1), sample(50, 9, 3, seed=2))


@pytest.mark.parametrize(("dim", "classes"), [(5, 0), (5, 1), (5, 5), (5, 6)])
def test_it_needs_classes_and_room_for_noise(dim, classes):
    with pytest.raises(ValueError, match="it needs 2 classes or more"):
        sample(2, dim, classes)


def test_with_class_replaces_the_class_and_keeps_the_noise():
    z = sample(3, 6, 4)
    changed = with_class(z, torch.tensor([2, 0, 3]), 4)
    assert torch.equal(changed[:, :2], z[:, :2])
    assert changed[:, 2:].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


def test_classes_are_as_frequent_as_among_the_labels():
    prior = with_num_classes(4)
    prior.fit_classes(LABELS)
    counts = class_counts(prior)
    assert counts[2] == 0
    assert chisquare(counts[[0, 1, 3]].double().numpy(), [4800, 2400, 800]).pvalue > 0.01


@pytest.mark.parametrize("model", [ConditionalGAN, ConditionalVAE])
def test_a_sampler_gets_the_class_frequencies_of_the_training_images(model):
    prior = ClassConditional()
    model = model((1, 8, 8), prior=prior, num_classes=4, noise_dim=2)
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    fit_classes(experiment(model, prior), Split(images, LABELS))
    torch.testing.assert_close(prior.class_frequencies, torch.tensor([0.6, 0.3, 0.0, 0.1]))
    assert not prior.learns, "it is fitted to labels, not to codes"


def test_categories_that_are_not_labels_stay_uniform():
    prior = with_num_classes(4, InfoGANPrior)
    fit_classes(experiment(torch.nn.Linear(1, 1), prior), Split(torch.zeros(10, 1, 8, 8), LABELS))
    assert chisquare(class_counts(prior).double().numpy()).pvalue > 0.01


def test_infogan_prior_has_uniform_values_between_noise_and_class():
    prior = InfoGANPrior()
    prior.num_classes, prior.num_continuous = 3, 2
    z = prior.sample((5000, 9), torch.Generator().manual_seed(0))
    noise, c, y = z[:, :4], z[:, 4:6], z[:, 6:]
    assert float(noise.abs().max()) > 2.5
    assert -1 <= float(c.min()) < -0.99
    assert 0.99 < float(c.max()) <= 1
    assert float(c.var()) == pytest.approx(1 / 3, rel=0.05)
    assert torch.equal(y.sum(1), torch.ones(5000))
    with pytest.raises(ValueError, match="noise besides them"):
        prior.sample((2, 5))


@pytest.mark.parametrize("labels", [torch.tensor([0, 4]), torch.zeros(0, dtype=torch.int64)])
def test_missing_and_too_large_labels_are_errors(labels):
    split = Split(torch.zeros(len(labels), 1, 8, 8), labels)
    with pytest.raises(LatentlabError, match=r"some: .* there must be labels, in 0…3"):
        fit_classes(experiment(torch.nn.Linear(1, 1), with_num_classes(4)), split)


def test_class_frequencies_are_loaded_from_a_file(tmp_path):
    fitted, path = with_num_classes(4), tmp_path / "sampler.pt"
    fitted.fit_classes(LABELS)
    torch.save(fitted.state_dict(), path)
    loaded = with_num_classes(4)
    load_weights(loaded, path)
    assert torch.equal(class_counts(loaded), class_counts(fitted))


def test_a_sampler_that_was_not_fitted_is_loaded_and_stays_uniform(tmp_path):
    """Also as a part of the model that contains it."""
    arguments = {"num_classes": 4, "noise_dim": 2}
    models = [ConditionalGAN((1, 8, 8), prior=ClassConditional(), **arguments) for _ in range(2)]
    models[1].prior.fit_classes(LABELS)
    torch.save(models[0].state_dict(), tmp_path / "model.pt")
    load_weights(models[1], tmp_path / "model.pt")
    assert chisquare(class_counts(models[1].prior).double().numpy()).pvalue > 0.01


@pytest.mark.parametrize(
    "p",
    [
        torch.ones(3) / 3,
        torch.tensor([2.0, -1, 0, 0]),
        torch.full((4,), torch.nan),
        torch.full((4,), 0.2),
        torch.full((4,), 0.3),
    ],
)
def test_a_file_with_invalid_frequencies_is_an_error(p, tmp_path):
    torch.save({"class_frequencies": p}, tmp_path / "sampler.pt")
    with pytest.raises(LatentlabError, match="for 4 classes: there must be one for each"):
        load_weights(with_num_classes(4), tmp_path / "sampler.pt")


def test_two_classes_are_enough():
    codes = sample(50, 5, 2)
    assert codes[:, -2:].sum(1).tolist() == [1] * 50


def test_frequencies_that_are_all_above_zero_are_loaded(tmp_path):
    torch.save({"class_frequencies": torch.tensor([0.4, 0.3, 0.2, 0.1])}, tmp_path / "sampler.pt")
    prior = with_num_classes(4)
    load_weights(prior, tmp_path / "sampler.pt")
    counts = class_counts(prior).double().numpy()
    assert chisquare(counts, [3200, 2400, 1600, 800]).pvalue > 0.01


def test_a_sampler_without_numbers_of_the_model_has_no_classes():
    assert (ClassConditional().num_classes, InfoGANPrior().num_continuous) == (0, 0)
