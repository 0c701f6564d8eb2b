"""Jacobians: three computations of one norm, against finite differences and by their statistics."""

import itertools

import numpy as np
import pytest
import torch

from latentlab.losses.jacobian import (
    exact_contraction,
    hutchinson_contraction,
    jacobian,
    sigmoid_contraction,
    tangents,
)

SHAPE = (1, 4, 5)


def encoder_of(*sizes, dtype=torch.float64):
    """Sigmoid layers of the given sizes: the encode function and the weight of the first layer."""
    torch.manual_seed(0)
    weights = [
        (torch.randn(fan_out, fan_in, dtype=dtype) / 2).requires_grad_()
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]

    def encode(x):
        z = x.flatten(1)
        for weight in weights:
            z = (z @ weight.T).sigmoid()
        return z

    return encode, weights


def finite_differences(encoder, x, step=1e-5):
    """∂f/∂x of images x (N, C, H, W), (N, D, P), by central differences."""
    columns = []
    for pixel in range(x[0].numel()):
        change = torch.zeros(x[0].numel(), dtype=x.dtype)
        change[pixel] = step
        change = change.view(1, *x.shape[1:])
        columns.append((encoder(x + change) - encoder(x - change)) / (2 * step))
    return torch.stack(columns, 2)


def test_jacobian_equals_finite_differences():
    encode, _ = encoder_of(20, 7, 3)
    x = torch.rand(2, *SHAPE, dtype=torch.float64)
    expected = finite_differences(encode, x)
    assert torch.allclose(jacobian(encode, x), expected, atol=1e-9)
    assert torch.allclose(exact_contraction(encode, x), expected.square().sum((1, 2)), rtol=1e-7)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_closed_form_equals_the_exact_norm_and_its_gradient(dtype, rtol):
    encode, (weight,) = encoder_of(20, 9, dtype=dtype)
    x = torch.rand(4, *SHAPE, dtype=dtype)
    closed = sigmoid_contraction(encode(x), weight)
    exact = exact_contraction(encode, x)
    assert torch.allclose(closed, exact, rtol=rtol, atol=0)
    by_closed = torch.autograd.grad(closed.sum(), weight)[0]
    by_exact = torch.autograd.grad(exact.sum(), weight)[0]
    assert torch.allclose(by_closed, by_exact, rtol=10 * rtol, atol=10 * rtol)


def test_hutchinson_estimate_is_unbiased_and_repeats_with_its_seed():
    encode, weights = encoder_of(20, 8, 6)
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    for weight in weights:
        weight.requires_grad_(False)
    exact = exact_contraction(encode, x)
    torch.manual_seed(1)
    estimates = torch.stack([hutchinson_contraction(encode, x) for _ in range(800)])
    error = (estimates.mean(0) - exact).abs() / (estimates.std(0) / 800**0.5)
    assert float(error.max()) < 4
    torch.manual_seed(1)
    assert torch.equal(hutchinson_contraction(encode, x), estimates[0])
    torch.manual_seed(1)
    many = hutchinson_contraction(encode, x, num_probes=800)
    assert torch.allclose(many, estimates.mean(0))


def test_gradient_of_the_estimate_is_unbiased():
    encode, (weight,) = encoder_of(20, 5)
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    exact = torch.autograd.grad(exact_contraction(encode, x).sum(), weight)[0]
    estimates = []
    for _ in range(500):
        estimate = hutchinson_contraction(encode, x).sum()
        estimates.append(torch.autograd.grad(estimate, weight)[0])
    estimates = torch.stack(estimates)
    error = (estimates.mean(0) - exact).abs() / (estimates.std(0) / 500**0.5)
    assert float(error.max()) < 5


def test_tangents_of_a_linear_encoder_are_its_right_singular_vectors():
    matrix = torch.randn(5, 16, dtype=torch.float64)
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    v = tangents(lambda x: x.flatten(1) @ matrix.T, x, 4)
    assert v.shape == (3, 4, 1, 4, 4)
    expected = np.linalg.svd(matrix.numpy())[2][:4]
    for image in v.flatten(2):
        overlap = np.abs(expected @ image.numpy().T)
        assert np.allclose(overlap, np.eye(4), atol=1e-8)
    assert torch.equal(v.flatten(2).amax(2), v.flatten(2).abs().amax(2))  # the sign is fixed
