"""Contractive autoencoder: its loss, its tied decoder, its errors."""

import pytest
import torch

from latentlab.losses.jacobian import exact_contraction
from latentlab.models.contractive_ae import ContractiveAE
from models.gradients import assert_same_loss_and_gradients

SHAPE = (1, 4, 5)


def build(**kwargs):
    torch.manual_seed(0)
    model = ContractiveAE(SHAPE, **kwargs)
    for weight in model.weights():
        torch.nn.init.normal_(weight, std=0.5)
    return model


@pytest.mark.parametrize("jacobian", ["closed", "exact", "hutchinson"])
def test_every_jacobian_trains_and_validates_without_gradients(jacobian):
    model = build(latent_dim=6, jacobian=jacobian, penalty_weight=0.3)
    x = torch.rand(4, *SHAPE)
    losses = model.training_step((x, None), 0)
    expected = losses["cross_entropy_nats"] + 0.3 * losses["jacobian_frobenius_sq"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    losses["loss"].backward()
    assert model.weights()[0].grad.abs().sum() > 0
    with torch.inference_mode():
        assert not model.validation_step((x, None), 0)["loss"].requires_grad


@pytest.mark.parametrize("jacobian", ["closed", "exact", "hutchinson"])
def test_the_penalty_is_the_squared_norm_of_the_jacobian_of_encode(jacobian):
    model = build(latent_dim=6, jacobian=jacobian, num_probes=2000)
    x = torch.rand(4, *SHAPE)
    penalty = model.loss(x)["jacobian_frobenius_sq"].item()
    rel = 0.1 if jacobian == "hutchinson" else 1e-4
    assert penalty == pytest.approx(exact_contraction(model.encode, x).mean().item(), rel=rel)


@pytest.mark.parametrize("jacobian", ["closed", "exact"])
def test_the_gradient_is_that_of_cross_entropy_plus_penalty(jacobian):
    """One sigmoid layer: ‖J‖² = Σ_j (h_j (1 − h_j))² ‖W_j‖² (Rifai et al. 2011, eq. 9)."""
    model = build(latent_dim=6, jacobian=jacobian, penalty_weight=0.3).double()
    x = torch.rand(4, *SHAPE, dtype=torch.float64)
    loss = model.training_step((x, None), 0)["loss"]
    weight, pixels = model.layers[0].weight, x.flatten(1)
    h = (pixels @ weight.T + model.layers[0].bias).sigmoid()
    p = (h @ weight + model.offsets[0]).sigmoid()
    nll = -(pixels * p.log() + (1 - pixels) * (1 - p).log()).sum(1)
    penalty = ((h * (1 - h)) ** 2 * weight.square().sum(1)).sum(1)
    assert_same_loss_and_gradients(model, loss, (nll + 0.3 * penalty).mean())


def test_the_terms_of_the_loss_are_means_over_the_batch():
    model, x = build(latent_dim=6, penalty_weight=0), torch.rand(4, *SHAPE)
    x_hat, terms = model.decode(model.encode(x)), model.validation_step((x, None), 0)
    nll = -(x * x_hat.log() + (1 - x) * (1 - x_hat).log()).sum() / 4
    torch.testing.assert_close(terms["cross_entropy_nats"], nll)
    torch.testing.assert_close(terms["loss"], nll)
    torch.testing.assert_close(terms["sse"], (x_hat - x).square().sum() / 4)


def test_weights_are_uniform_at_first_with_the_width_of_glorot_and_bengio_for_sigmoids():
    """U(−a, a) with a = 4 √(6 / (fan in + fan out)); the decoder's offsets are 0."""
    torch.manual_seed(0)
    model = ContractiveAE((3, 8, 8), hidden=[100], jacobian="exact")
    assert model.latent_dim == 192
    weights = [weight.detach() for weight in model.weights()]
    for weight, fans in zip(weights, (192 + 100, 100 + 192), strict=True):
        bound = 4 * (6 / fans) ** 0.5
        assert 0.99 * bound < float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert [len(offset) for offset in model.offsets] == [192, 100]
    assert not any(offset.any() for offset in model.offsets)


def test_decoder_mirrors_the_encoder_with_tied_weights():
    model = build(hidden=[7], latent_dim=3, jacobian="exact")
    z = torch.rand(2, 3)
    first, second = model.weights()
    h = torch.sigmoid(z @ second + model.offsets[1])
    x_hat = torch.sigmoid(h @ first + model.offsets[0]).view(2, *SHAPE)
    assert torch.allclose(model.decode(z), x_hat, atol=1e-6)
    assert sum(p.numel() for p in model.parameters()) == 20 * 7 + 7 * 3 + 7 + 3 + 20 + 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty_weight": -0.1}, "penalty_weight is -0.1: it must be ≥ 0"),
        ({"jacobian": "hutchinson", "num_probes": 0}, "needs 1 or more"),
        ({"hidden": [6]}, "one layer, not for 2: choose exact or hutchinson"),
        ({"hidden": [6, 5]}, "one layer, not for 3"),
    ],
)
def test_settings_outside_of_their_range_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        ContractiveAE(SHAPE, **settings)
    assert ContractiveAE(SHAPE, penalty_weight=0).penalty_weight == 0
