"""GAN against Goodfellow's algorithm in plain PyTorch, and its settings."""

import copy

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.gan import GAN
from latentlab.samplers import StandardNormal

SHAPE = (1, 8, 8)
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def gan(**settings):
    torch.manual_seed(0)
    return GAN(SHAPE, prior=StandardNormal(), latent_dim=5, hidden=[12], **settings)


def test_one_batch_equals_algorithm_1_in_plain_pytorch():
    """One step of each network, written with probabilities; each phase has new codes."""
    model = gan()
    codes = list(torch.randn(2, 6, 5))
    remaining = iter(codes)
    model.prior.sample = lambda shape, generator=None: next(remaining).clone()
    generator, discriminator = copy.deepcopy((model.generator, model.discriminator))
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    opt_g = torch.optim.Adam(generator.parameters(), **adam)
    opt_d = torch.optim.Adam(discriminator.parameters(), **adam)
    x = torch.rand(1, 6, *SHAPE)
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=1, **dict.fromkeys(silent, False))
    trainer.fit(model, DataLoader(TensorDataset(x, torch.zeros(1)), batch_size=None))
    p_real = torch.sigmoid(discriminator(2 * x[0] - 1))
    p_fake = torch.sigmoid(discriminator(torch.tanh(generator(codes[0])).detach()))
    (-(p_real.log().mean() + (1 - p_fake).log().mean())).backward()
    opt_d.step()
    opt_g.zero_grad()
    (-torch.sigmoid(discriminator(torch.tanh(generator(codes[1])))).log().mean()).backward()
    opt_g.step()
    for expected, got in ((generator, model.generator), (discriminator, model.discriminator)):
        for a, b in zip(expected.parameters(), got.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="unknown loss 'wasserstone': choose one of minimax"):
        gan(loss="wasserstone")
