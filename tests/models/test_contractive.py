"""Contraction: three ways to one number, against finite differences and by their statistics."""

import pytest
import torch

from latentlab.losses.contraction import (
    exact_contraction,
    hutchinson_contraction,
    jacobian,
    sigmoid_contraction,
)
from latentlab.models.contractive_ae import ContractiveAE

SHAPE = (1, 4, 5)


def finite_differences(encoder, x, step=1e-5):
    """∂f/∂x of images x (N, C, H, W), (N, D, P), by central differences."""
    columns = []
    for pixel in range(x[0].numel()):
        change = torch.zeros(x[0].numel(), dtype=x.dtype)
        change[pixel] = step
        change = change.view(1, *x.shape[1:])
        columns.append((encoder(x + change) - encoder(x - change)) / (2 * step))
    return torch.stack(columns, 2)


def build(**kwargs):
    torch.manual_seed(0)
    model = ContractiveAE(SHAPE, **kwargs)
    for weight in model.weights():
        torch.nn.init.normal_(weight, std=0.5)
    return model


def test_jacobian_is_that_of_finite_differences():
    model = build(widths=[7, 3], jacobian="exact").double()
    x = torch.rand(2, *SHAPE, dtype=torch.float64)
    expected = finite_differences(model.encode, x)
    assert torch.allclose(jacobian(model.encode, x), expected, atol=1e-9)
    assert torch.allclose(
        exact_contraction(model.encode, x), expected.square().sum((1, 2)), rtol=1e-7
    )


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_closed_form_is_the_exact_jacobians_norm_and_so_is_its_gradient(dtype, rtol):
    model = build(widths=[9]).to(dtype)
    x = torch.rand(4, *SHAPE, dtype=dtype)
    weight = model.weights()[0]
    closed = sigmoid_contraction(model.encode(x), weight)
    exact = exact_contraction(model.encode, x)
    assert torch.allclose(closed, exact, rtol=rtol, atol=0)
    by_closed = torch.autograd.grad(closed.sum(), weight)[0]
    by_exact = torch.autograd.grad(exact.sum(), weight)[0]
    assert torch.allclose(by_closed, by_exact, rtol=10 * rtol, atol=10 * rtol)


def test_estimate_is_unbiased_and_its_seed_repeats_it():
    model = build(widths=[8, 6], jacobian="hutchinson").double()
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    model.requires_grad_(False)
    exact = exact_contraction(model.encode, x)
    torch.manual_seed(1)
    draws = torch.stack([hutchinson_contraction(model.encode, x) for _ in range(800)])
    error = (draws.mean(0) - exact).abs() / (draws.std(0) / 800**0.5)
    assert float(error.max()) < 4
    torch.manual_seed(1)
    assert torch.equal(hutchinson_contraction(model.encode, x), draws[0])
    torch.manual_seed(1)
    many = hutchinson_contraction(model.encode, x, probes=800)
    assert torch.allclose(many, draws.mean(0))


def test_estimates_gradient_is_unbiased():
    model = build(widths=[5], jacobian="hutchinson").double()
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    weight = model.weights()[0]
    exact = torch.autograd.grad(exact_contraction(model.encode, x).sum(), weight)[0]
    draws = []
    for _ in range(500):
        estimate = hutchinson_contraction(model.encode, x).sum()
        draws.append(torch.autograd.grad(estimate, weight)[0])
    draws = torch.stack(draws)
    error = (draws.mean(0) - exact).abs() / (draws.std(0) / 500**0.5)
    assert float(error.max()) < 5


@pytest.mark.parametrize("jacobian", ["closed", "exact", "hutchinson"])
def test_every_way_trains_and_validates_without_gradients(jacobian):
    model = build(widths=[6], jacobian=jacobian, weight=0.3)
    x = torch.rand(4, *SHAPE)
    losses = model.training_step((x, None), 0)
    expected = losses["cross_entropy_nats"] + 0.3 * losses["jacobian_sq"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    losses["loss"].backward()
    assert model.weights()[0].grad.abs().sum() > 0
    with torch.inference_mode():
        assert not model.validation_step((x, None), 0)["loss"].requires_grad


def test_decoder_is_the_encoders_mirror():
    model = build(widths=[7, 3], jacobian="exact")
    z = torch.rand(2, 3)
    first, second = model.weights()
    h = torch.sigmoid(z @ second + model.offsets[1])
    x_hat = torch.sigmoid(h @ first + model.offsets[0]).view(2, *SHAPE)
    assert torch.allclose(model.decode(z), x_hat, atol=1e-6)
    assert sum(p.numel() for p in model.parameters()) == 20 * 7 + 7 * 3 + 7 + 3 + 20 + 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -0.1}, "needs a weight ≥ 0"),
        ({"jacobian": "hutchinson", "probes": 0}, "needs 1 or more"),
        ({"widths": [6, 3]}, "choose exact or hutchinson"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        ContractiveAE(SHAPE, **settings)
