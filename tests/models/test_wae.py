"""WAE: the objective of algorithm 2, and what it does to the codes."""

import pytest
import torch
from torch.optim import Adam

from latentlab.contracts import Encoder, GaussianPosterior, StandardNormalPrior
from latentlab.models.wae import WAE
from latentlab.networks.conv import Conv
from latentlab.networks.mlp import MLP
from models.gradients import assert_same_loss_and_gradients


def kernel(a, b):
    """C / (C + ‖a − b‖²), C = 2 · 3 units, of all pairs (Tolstikhin et al. 2018, section 4)."""
    return 6 / (6 + (a[:, None] - b).square().sum(2))


def test_the_loss_and_its_gradient_are_those_of_algorithm_2():
    torch.manual_seed(0)
    model = WAE((1, 8, 8), latent_dim=3, network=MLP([10]), mmd_weight=7.0).double()
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    torch.manual_seed(1)
    terms = model.training_step((x, None), 0)
    torch.manual_seed(1)
    z = model.encoder(x)
    prior = torch.randn_like(z)
    sse = (model.decoder(z).sigmoid() - x).square().sum() / 6
    others = ~torch.eye(6, dtype=torch.bool)
    within = (kernel(z, z)[others].sum() + kernel(prior, prior)[others].sum()) / 30
    discrepancy = within - 2 * kernel(z, prior).mean()
    assert terms["sse"].item() == pytest.approx(sse.item())
    assert terms["mmd"].item() == pytest.approx(discrepancy.item())
    assert_same_loss_and_gradients(model, terms["loss"], sse + 7 * discrepancy)


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
