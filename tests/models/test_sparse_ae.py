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
    torch.manual_seed(0)
    model = SparseAE(SHAPE, latent_dim=9, penalty=penalty, penalty_weight=0.7, rho=0.1).double()
    with torch.no_grad():
        model.encoder.bias.copy_(torch.linspace(-4, 1, 9))
    x = torch.rand(4, *SHAPE, dtype=torch.float64)
    h = x.flatten(1) @ model.encoder.weight.T + model.encoder.bias
    z, columns = h.sigmoid(), model.decoder.weight
    if penalty == "l1":
        z, columns = h.relu(), columns / columns.square().sum(0).sqrt()
    x_hat = z @ columns.T + model.decoder.bias
    sse = (x_hat - x.flatten(1)).square().sum() / 4
    distributions = Bernoulli(torch.tensor(0.1).double()), Bernoulli(z.mean(0))
    named = {
        "l1": ("l1", z.abs().sum() / 4, 0),
        "kl": ("kl_target_nats", kl_divergence(*distributions).sum(), 0.1),
    }
    name, term, threshold = named[penalty]
    active = z > threshold
    assert 0 < active.sum() < 36
    expected = {
        "loss": sse + 0.7 * term,
        "sse": sse,
        name: term,
        "mean_activation": z.mean(),
        "inactive_fraction": 1 - active.double().mean(),
    }
    torch.testing.assert_close(model.encode(x), z)
    assert torch.equal(model.active(z), active)
    torch.testing.assert_close(model.training_step((x, None), 0), expected, check_dtype=False)


@pytest.mark.parametrize("penalty", ["l1", "kl"])
def test_images_are_clipped_to_their_range(penalty):
    torch.manual_seed(0)
    model, z = SparseAE(SHAPE, latent_dim=9, penalty=penalty), 5 * torch.randn(4, 9)
    x_hat = (z @ model.columns().T + model.decoder.bias).view(4, *SHAPE)
    assert float(x_hat.detach().min()) < 0
    assert float(x_hat.detach().max()) > 1
    torch.testing.assert_close(model.decode(z), x_hat.clip(0, 1))
    torch.testing.assert_close(model.dictionary()[5], model.columns()[:, 5].view(SHAPE))


def test_the_default_code_has_half_as_many_units_as_the_image_has_values():
    for shape, units in ((SHAPE, 18), ((3, 1, 1), 1), ((1, 1, 1), 1)):
        assert SparseAE(shape).latent_dim == units


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty_weight": -1}, "penalty_weight is -1: it must be ≥ 0"),
        ({"penalty": "kl", "rho": 1.0}, r"lies in \(0, 1\)"),
        ({"penalty": "kl", "rho": 1.5}, r"lies in \(0, 1\)"),
        ({"penalty": "kl", "rho": 0.0}, r"lies in \(0, 1\)"),
        ({"penalty": "kl", "rho": -0.1}, r"lies in \(0, 1\)"),
    ],
)
def test_settings_outside_of_their_range_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        SparseAE(SHAPE, **settings)
    assert SparseAE(SHAPE, penalty_weight=0).penalty_weight == 0
