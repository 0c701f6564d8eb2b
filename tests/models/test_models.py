"""The model contract, and the mathematics of each model."""

import pytest
import torch

from latentlab.contracts import Encoder, Model
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.dcgan import DCGAN
from latentlab.models.linear_ae import LinearAE
from latentlab.models.vae import VAE
from latentlab.samplers import StandardNormal

SHAPES = [(1, 8, 8), (3, 28, 28), (1, 32, 32)]


def build(kind, shape):
    torch.manual_seed(0)
    made = {
        "linear_ae": lambda: LinearAE(shape, latent_dim=5),
        "autoencoder": lambda: Autoencoder(shape, latent_dim=5),
        "vae": lambda: VAE(shape, latent_dim=5),
        "dcgan": lambda: DCGAN(shape, prior=StandardNormal(), latent_dim=5, width=4),
    }
    return made[kind]().eval()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["linear_ae", "autoencoder", "vae", "dcgan"])
def test_every_model_keeps_the_contract(kind, shape):
    model = build(kind, shape)
    assert isinstance(model, Model)
    z, x = 3 * torch.randn(4, model.latent_dim), torch.rand(4, *shape)
    images = model.decode(z)
    assert images.shape == (4, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    features = model.features(x)
    assert features.ndim == 2
    assert len(features) == 4
    assert isinstance(model, Encoder) == (kind != "dcgan")
    if kind != "dcgan":
        assert model.encode(x).shape == (4, model.latent_dim)
