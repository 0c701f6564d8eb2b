"""Fit the sampler of an experiment to the training codes or to the class frequencies."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from latentlab.contracts import Split
from latentlab.samplers import ClassConditional, FittedGaussian, FittedMixture, StandardNormal
from latentlab.training.fit_sampler import fit_classes, fit_sampler
from latentlab.utils.errors import LatentlabError


class Autoencoder(nn.Module):
    """The code is the mean intensity of each half of the image."""

    family, latent_dim = "AE", 2

    def encode(self, x):
        assert not self.training
        return x.flatten(1).unflatten(1, (2, -1)).mean(2)

    def decode(self, z):
        return z

    features = encode


class Decoder(nn.Module):
    family, latent_dim = "GAN", 2


def split(count=40):
    images = torch.randint(0, 256, (count, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    return Split(images.to(torch.uint8), torch.arange(count) % 4 % 3)


def of_classes(count):
    sampler = ClassConditional()
    sampler.num_classes = count
    return sampler


def experiment(model, sampler):
    return SimpleNamespace(name="own", model=model.train(), sampler=sampler)


def test_a_fitted_sampler_has_the_mean_of_the_codes():
    sampler = FittedGaussian()
    fit_sampler(experiment(Autoencoder(), sampler), split())
    codes = split().images.float().flatten(1).unflatten(1, (2, 2)).mean(2) / 255
    samples = sampler.sample((20_000, 2), torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.mean(0), codes.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(samples.T.cov(), codes.T.cov(), atol=0.005, rtol=0)


@pytest.mark.parametrize(
    ("model", "sampler"),
    [(Autoencoder, StandardNormal), (Decoder, FittedGaussian), (Autoencoder, lambda: None)],
)
def test_a_fixed_prior_or_a_model_without_encoder_is_left_alone(model, sampler):
    made = sampler()
    before = None if made is None else {k: v.clone() for k, v in made.state_dict().items()}
    fit_sampler(experiment(model(), made), split())
    after = None if made is None else made.state_dict()
    assert (before is None) == (after is None)
    assert before is None or all(torch.equal(before[key], after[key]) for key in before)


def test_classes_are_sampled_with_the_frequencies_of_the_labels():
    sampler = of_classes(3)
    fit_classes(experiment(Autoencoder(), sampler), split())
    codes = sampler.sample((8000, 5), torch.Generator().manual_seed(0))
    found = codes[:, -3:].mean(0)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.25, 0.25]), atol=0.02, rtol=0)
    fit_classes(experiment(Autoencoder(), StandardNormal()), split())


def test_an_error_of_the_sampler_names_the_model():
    with pytest.raises(LatentlabError, match=r"^own: its sampler cannot be fitted: "):
        fit_sampler(experiment(Autoencoder(), FittedMixture(components=5)), split(3))
    unknown = Split(split().images, torch.full((40,), 7))
    with pytest.raises(LatentlabError, match=r"^own: its sampler cannot be fitted: "):
        fit_classes(experiment(Autoencoder(), of_classes(3)), unknown)
