"""Sparse autoencoder: the two penalties, and columns of length 1."""

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from latentlab.models.sparse_ae import SparseAE

SHAPE = (1, 6, 6)


def test_l1_columns_have_length_1_so_scaling_the_decoder_changes_nothing():
    model = SparseAE(SHAPE, latent_dim=9)
    lengths = model.dictionary().flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(9), atol=1e-6)
    x = torch.rand(3, *SHAPE)
    before = model.loss(x)["loss"]
    with torch.no_grad():
        model.decoder.weight.mul_(100)
    assert model.loss(x)["loss"].item() == pytest.approx(before.item(), rel=1e-5)


@pytest.mark.parametrize("penalty", ["l1", "kl"])
def test_loss_is_the_error_plus_the_weighted_penalty(penalty):
    model = SparseAE(SHAPE, latent_dim=9, penalty=penalty, penalty_weight=0.7, rho=0.1)
    x = torch.rand(4, *SHAPE)
    z = model.encode(x)
    x_hat = model.decode_unclipped(z)
    terms = {"l1": z.abs().sum() / 4}
    distributions = Bernoulli(torch.tensor(0.1)), Bernoulli(z.mean(0))
    terms["kl"] = kl_divergence(*distributions).sum()
    expected = (x_hat - x).square().sum() / 4 + 0.7 * terms[penalty]
    got = model.loss(x)
    assert got["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    active = z > (0 if penalty == "l1" else 0.1)
    assert got["inactive_fraction"].item() == pytest.approx(
        1 - active.float().mean().item(), abs=1e-6
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty_weight": -1}, "penalty_weight is -1: it must be ≥ 0"),
        ({"penalty": "kl", "rho": 1.0}, r"lies in \(0, 1\)"),
    ],
)
def test_settings_outside_of_their_range_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        SparseAE(SHAPE, **settings)
