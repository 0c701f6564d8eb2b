"""Noise and classes together: each follows its own law, and they are independent."""

from types import SimpleNamespace

import pytest
import torch
from scipy.stats import chisquare, kstest

from latentlab.contracts import LatentlabError, Split
from latentlab.models.conditional_gan import ConditionalGAN
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.priors import Coded, Conditional, with_class
from latentlab.runs import fill, fit_classes

LABELS = torch.tensor([0] * 6 + [1] * 3 + [3])  # of four classes, the third of which is not there


def of_classes(classes, kind=Conditional):
    prior = kind()
    prior.num_classes = classes
    return prior


def drawn(count, dim, classes, seed=0):
    return of_classes(classes).sample((count, dim), torch.Generator().manual_seed(seed))


def classes_of(prior, count=8000):
    """How often each of four classes is drawn beside two numbers of noise, (4,)."""
    return prior.sample((count, 6), torch.Generator().manual_seed(0))[:, -4:].sum(0)


def experiment(model, sampler):
    return SimpleNamespace(name="some", model=model, sampler=sampler)


def test_noise_is_normal_and_classes_are_uniform_one_hot_rows():
    z = drawn(6000, 7, 4)
    noise, classes = z[:, :3], z[:, 3:]
    assert kstest(noise.flatten().double().numpy(), "norm").pvalue > 0.01
    assert torch.equal(classes.sum(1), torch.ones(6000))
    assert set(classes.unique().tolist()) == {0.0, 1.0}
    assert chisquare(classes.sum(0).double().numpy()).pvalue > 0.01
    means = torch.stack([noise[classes[:, k] == 1].mean(0) for k in range(4)])
    assert float(means.abs().max()) < 4 / 1500**0.5, "the noise does not know the class"


def test_a_seed_decides_the_draw():
    assert torch.equal(drawn(50, 9, 3, seed=1), drawn(50, 9, 3, seed=1))
    assert not torch.equal(drawn(50, 9, 3, seed=1), drawn(50, 9, 3, seed=2))


@pytest.mark.parametrize(("dim", "classes"), [(5, 0), (5, 1), (5, 5)])
def test_it_needs_classes_and_room_for_noise(dim, classes):
    with pytest.raises(ValueError, match="two classes or more"):
        drawn(2, dim, classes)


def test_with_class_replaces_the_class_and_keeps_the_noise():
    z = drawn(3, 6, 4)
    asked = with_class(z, torch.tensor([2, 0, 3]), 4)
    assert torch.equal(asked[:, :2], z[:, :2])
    assert asked[:, 2:].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


def test_classes_are_as_frequent_as_among_the_labels():
    prior = of_classes(4)
    prior.fit_classes(LABELS)
    counts = classes_of(prior)
    assert counts[2] == 0
    assert chisquare(counts[[0, 1, 3]].double().numpy(), [4800, 2400, 800]).pvalue > 0.01


@pytest.mark.parametrize("kind", [ConditionalGAN, ConditionalVAE])
def test_a_sampler_is_told_the_classes_of_the_training_images(kind):
    prior = Conditional()
    model = kind((1, 8, 8), prior=prior, num_classes=4, noise_dim=2)
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    fit_classes(experiment(model, prior), Split(images, LABELS))
    torch.testing.assert_close(prior.shares, torch.tensor([0.6, 0.3, 0.0, 0.1]))


def test_codes_that_are_no_labels_stay_uniform():
    prior = of_classes(4, Coded)
    fit_classes(experiment(torch.nn.Linear(1, 1), prior), Split(torch.zeros(10, 1, 8, 8), LABELS))
    assert chisquare(classes_of(prior).double().numpy()).pvalue > 0.01


@pytest.mark.parametrize("labels", [torch.tensor([0, 4]), torch.zeros(0, dtype=torch.int64)])
def test_labels_that_do_not_fit_are_refused(labels):
    split = Split(torch.zeros(len(labels), 1, 8, 8), labels)
    with pytest.raises(LatentlabError, match=r"some: .* must be there and in 0…classes − 1"):
        fit_classes(experiment(torch.nn.Linear(1, 1), of_classes(4)), split)


def test_shares_are_kept_with_the_run_and_weights_from_before_them_change_nothing(tmp_path):
    fitted, path = of_classes(4), tmp_path / "sampler.pt"
    fitted.fit_classes(LABELS)
    torch.save(fitted.state_dict(), path)
    again = of_classes(4)
    fill(again, path)
    assert torch.equal(classes_of(again), classes_of(fitted))
    for early in ({}, of_classes(4).state_dict()):
        torch.save(early, path)
        fill(again, path)
        assert torch.equal(classes_of(again), classes_of(fitted))


def test_a_run_folder_without_shares_draws_every_class_alike(tmp_path):
    """Of the model as well, which holds the sampler as a part."""
    model, path = ConditionalGAN((1, 8, 8), prior=Conditional(), num_classes=4, noise_dim=2), "m"
    state = {k: v for k, v in model.state_dict().items() if k != "prior.shares"}
    torch.save(state, tmp_path / path)
    fill(model, tmp_path / path)
    assert chisquare(classes_of(model.prior).double().numpy()).pvalue > 0.01


@pytest.mark.parametrize(
    "shares", [torch.ones(3) / 3, torch.tensor([2.0, -1, 0, 0]), torch.full((4,), torch.nan)]
)
def test_shares_that_are_none_are_refused(shares, tmp_path):
    torch.save({"shares": shares}, tmp_path / "sampler.pt")
    with pytest.raises(LatentlabError, match="for 4 classes: there must be one for each"):
        fill(of_classes(4), tmp_path / "sampler.pt")
