"""WAE: the objective of algorithm 2, and what it does to the codes."""

import pytest
import torch
from torch.optim import Adam

from latentlab.contracts import Encoder, GaussianPosterior, StandardNormalPrior
from latentlab.losses.variational import mmd
from latentlab.models.wae import WAE
from latentlab.networks.conv import Conv
from latentlab.networks.mlp import MLP


def test_the_loss_is_squared_error_plus_weighted_mmd():
    torch.manual_seed(0)
    model = WAE((1, 8, 8), latent_dim=3, network=MLP([10]), mmd_weight=7.0)
    x = torch.rand(6, 1, 8, 8)
    torch.manual_seed(1)
    terms = model.validation_step((x, None), 0)
    torch.manual_seed(1)
    z = model.encode(x)
    sse = float((model.decode(z) - x).square().sum().detach()) / 6
    discrepancy = float(mmd(z, torch.randn(6, 3)).detach())
    assert float(terms["sse"].detach()) == pytest.approx(sse, rel=1e-5)
    assert float(terms["mmd"].detach()) == pytest.approx(discrepancy, rel=1e-4, abs=1e-7)
    assert float(terms["loss"].detach()) == pytest.approx(sse + 7 * discrepancy, rel=1e-5)


@pytest.mark.parametrize("network", [MLP([12]), Conv(width=4)], ids=["MLP", "Conv"])
def test_the_model_keeps_the_contract(network):
    model = WAE((3, 8, 8), latent_dim=4, network=network).eval()
    assert isinstance(model, Encoder)
    assert isinstance(model, StandardNormalPrior)
    assert not isinstance(model, GaussianPosterior), "the encoder is deterministic"
    x = torch.rand(5, 3, 8, 8)
    z = model.encode(x)
    assert torch.equal(z, model.encode(x))
    assert z.shape == model.features(x).shape == (5, 4)
    images = model.decode(z)
    assert images.shape == x.shape
    assert ((images >= 0) & (images <= 1)).all()


@pytest.mark.parametrize(("weight", "low", "high"), [(1000.0, 0.7, 1.3), (0.0, 0.0, 0.3)])
def test_the_mmd_gives_the_codes_the_variance_of_the_prior(weight, low, high):
    torch.manual_seed(0)
    model = WAE((1, 2, 2), latent_dim=2, network=MLP([32]), mmd_weight=weight)
    x = torch.rand(256, 1, 2, 2)
    optimizer = Adam(model.parameters() if weight else model.decoder.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        model.training_step((x, None), 0)["loss"].backward()
        optimizer.step()
    variance = float(model.encode(x).var(0).mean().detach())
    assert low < variance < high


def test_a_negative_weight_is_an_error():
    with pytest.raises(ValueError, match=r"mmd_weight is -1\.0: it must be ≥ 0"):
        WAE((1, 8, 8), mmd_weight=-1.0)
