"""The model contract, and what the optimizers of each model update."""

from pathlib import Path

import pytest
import torch

from latentlab.config import load_experiment
from latentlab.config.selection import model_entry, model_names
from latentlab.contracts import Encoder, Model
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.dcgan import DCGAN
from latentlab.models.linear_ae import LinearAE
from latentlab.models.vae import VAE
from latentlab.samplers import StandardNormal
from models.lightning_stub import with_trainer

SHAPES = [(1, 8, 8), (3, 28, 28), (1, 32, 32)]
REPO = Path(__file__).resolve().parents[2]
ONE_CONFIG = {model_entry(REPO, name): name for name in sorted(model_names(REPO), reverse=True)}


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


@pytest.mark.parametrize("name", sorted(ONE_CONFIG.values()))
def test_every_parameter_is_in_one_optimizer_and_has_a_gradient(name):
    """Gradients of models with two optimizers: models/steps.py asserts that each one moves."""
    torch.manual_seed(0)
    spec = {"image_shape": (1, 8, 8), "num_classes": 10}
    model = with_trainer(load_experiment(name, spec, REPO).model)
    groups = [group for optimizer in model.optimizers() for group in optimizer.param_groups]
    updated = [id(parameter) for group in groups for parameter in group["params"]]
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    names = {id(parameter): n for n, parameter in parameters.items()}
    assert sorted(names.get(key, "not of the model") for key in updated) == sorted(parameters)
    if model.automatic_optimization:
        for parameter in parameters.values():  # some are 0 at first, which hides others
            parameter.data += 0.1 * torch.randn_like(parameter)
        x, y = torch.rand(6, 1, 8, 8), torch.arange(6)
        model.training_step((x, y), 0)["loss"].backward()
        assert [n for n, p in parameters.items() if p.grad is None or not p.grad.any()] == []
