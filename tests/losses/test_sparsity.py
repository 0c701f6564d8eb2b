"""Sparsity: penalties against torch.distributions, top k against numpy, FISTA against Lasso."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch.distributions import Bernoulli, Laplace, kl_divergence

from latentlab.losses.sparsity import (
    SparseProblem,
    above_top_k,
    bernoulli_kl,
    fista,
    ista,
    l1_norm,
    soft_threshold,
    top_k,
)

PIXELS, UNITS, IMAGES = 30, 50, 4


def test_l1_norm_is_the_nll_of_a_laplace_prior_up_to_a_constant():
    z = torch.randn(5, 7, dtype=torch.float64)
    nll = -Laplace(torch.zeros(7).double(), 1.0).log_prob(z).sum(1)
    constant = nll - l1_norm(z)
    assert torch.allclose(constant, torch.full((5,), 7 * np.log(2)).double())


@pytest.mark.parametrize("rho", [0.05, 0.3])
def test_bernoulli_kl_is_the_divergence_of_torch_distributions(rho):
    z = torch.rand(9, 4, dtype=torch.float64)
    target = Bernoulli(torch.tensor(rho, dtype=torch.float64))
    expected = kl_divergence(target, Bernoulli(z.mean(0))).sum()
    assert bernoulli_kl(rho, z).item() == pytest.approx(expected.item(), rel=1e-10)
    assert bernoulli_kl(rho, torch.full((3, 4), rho)).item() == pytest.approx(0, abs=1e-6)


def test_bernoulli_kl_is_finite_for_saturated_units():
    z = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = bernoulli_kl(0.05, z)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


def test_bernoulli_kl_of_bfloat16_units_has_the_limit_of_float32():
    z = torch.ones(9, 4, dtype=torch.bfloat16)  # 1 − 1e-6 is 1 in bfloat16
    limit = torch.full((4,), 1 - 1e-6, dtype=torch.float64)
    target = Bernoulli(torch.tensor(0.05, dtype=torch.float64))
    expected = kl_divergence(target, Bernoulli(limit)).sum()
    assert bernoulli_kl(0.05, z).item() == pytest.approx(expected.item(), rel=0.01)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_top_k_keeps_the_largest_values_and_their_gradients(k):
    z = torch.randn(6, 8, requires_grad=True)
    kept = top_k(z, k)
    values = z.detach().numpy()
    expected = np.zeros_like(values)
    for row, activations in enumerate(values):
        chosen = np.argsort(activations)[-k:]
        expected[row, chosen] = activations[chosen]
    assert np.array_equal(kept.detach().numpy(), expected)
    weights = torch.randn(6, 8)
    (kept * weights).sum().backward()
    assert torch.equal(z.grad, torch.where(torch.from_numpy(expected != 0), weights, 0.0))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_above_top_k_subtracts_the_next_largest_value(k):
    z = torch.randn(6, 8)
    expected = np.zeros((6, 8), np.float32)
    for row, activations in enumerate(z.numpy()):
        order = np.argsort(activations)
        expected[row, order[-k:]] = activations[order[-k:]] - activations[order[-k - 1]]
    assert np.allclose(above_top_k(z, k).numpy(), expected, atol=1e-6)


@pytest.fixture
def problem():
    torch.manual_seed(0)
    dictionary = torch.randn(PIXELS, UNITS, dtype=torch.float64)
    return SparseProblem(dictionary / dictionary.norm(dim=0), l1_weight=0.2)


@pytest.fixture
def x(problem):
    torch.manual_seed(1)
    return torch.randn(IMAGES, PIXELS, dtype=torch.float64)


def zeros():
    return torch.zeros(IMAGES, UNITS, dtype=torch.float64)


def lasso(dictionary, x, l1):
    """argmin ½‖x − Bz‖² + l1 ‖z‖₁; scikit-learn divides the error by the number of rows."""
    model = Lasso(alpha=l1 / len(dictionary), fit_intercept=False, tol=1e-12, max_iter=10**6)
    codes = [model.fit(dictionary.numpy(), image.numpy()).coef_.copy() for image in x]
    return torch.stack([torch.from_numpy(code) for code in codes])


def test_fista_finds_the_lasso_of_scikit_learn(problem, x):
    expected = lasso(problem.dictionary, x, problem.l1_weight)
    assert torch.allclose(fista(problem, x, zeros(), steps=1000), expected, atol=1e-4)
    assert 0 < (expected == 0).double().mean() < 1


def test_fista_in_float32_finds_the_lasso_too(problem, x):
    single = SparseProblem(problem.dictionary.float(), problem.l1_weight)
    z = fista(single, x.float(), zeros().float(), steps=1000)
    assert torch.allclose(z.double(), lasso(problem.dictionary, x, problem.l1_weight), atol=1e-4)


def test_fista_in_bfloat16_comes_near_the_least_energy(problem, x):
    half = SparseProblem(problem.dictionary.bfloat16(), problem.l1_weight)
    z = fista(half, x.bfloat16(), zeros().bfloat16(), steps=200).double()
    expected = lasso(problem.dictionary, x, problem.l1_weight)
    least, found = (problem.energy(x, codes) for codes in (expected, z))
    assert torch.allclose(found, least, rtol=0.02)


def test_a_prediction_equals_more_rows_of_the_lasso(problem, x):
    """α/2 ‖z − p‖² is the error of √α I z for √α p, so both errors together are one lasso."""
    alpha = 0.7
    torch.manual_seed(2)
    p = torch.randn(IMAGES, UNITS, dtype=torch.float64)
    predictive = SparseProblem(problem.dictionary, problem.l1_weight, alpha)
    rows = torch.cat([problem.dictionary, alpha**0.5 * torch.eye(UNITS).double()])
    targets = torch.cat([x, alpha**0.5 * p], dim=1)
    z = fista(predictive, x, p, p, steps=500)
    assert torch.allclose(z, lasso(rows, targets, problem.l1_weight), atol=1e-6)
    stacked = SparseProblem(rows, problem.l1_weight)
    assert torch.allclose(predictive.energy(x, z, p), stacked.energy(targets, z))


def test_ista_never_increases_the_energy_and_fista_is_faster(problem, x):
    energies = [problem.energy(x, ista(problem, x, zeros(), steps=n)) for n in range(0, 60, 5)]
    steps = torch.stack(energies).diff(dim=0)
    assert float(steps.max()) <= 0
    least = problem.energy(x, lasso(problem.dictionary, x, problem.l1_weight))
    slow = problem.energy(x, ista(problem, x, zeros(), steps=60)) - least
    fast = problem.energy(x, fista(problem, x, zeros(), steps=60)) - least
    assert bool((fast < 0.5 * slow).all())


def test_soft_threshold_is_the_proximal_map_of_the_absolute_value():
    """argmin_u ½ (u − z)² + t |u| on a fine grid."""
    grid = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    for z in (-2.0, -0.3, 0.0, 0.4, 1.7):
        best = grid[(0.5 * (grid - z).square() + 0.5 * grid.abs()).argmin()]
        assert soft_threshold(torch.tensor(z), 0.5).item() == pytest.approx(best.item(), abs=1e-4)


def test_fista_is_algorithm_4_of_its_paper_with_a_restart_for_each_image(problem, x):
    """Beck & Teboulle 2009, eqs. 4.1–4.3, written for one image at a time in numpy."""
    basis = problem.dictionary.numpy()
    largest = np.linalg.norm(basis, 2) ** 2
    expected, restarts = [], 0
    for image in x.numpy():
        z = y = np.zeros(UNITS)
        t = 1.0
        for _ in range(40):
            u = y - basis.T @ (basis @ y - image) / largest
            after = np.sign(u) * np.maximum(np.abs(u) - problem.l1_weight / largest, 0)
            if (y - after) @ (after - z) > 0:
                t, restarts = 1.0, restarts + 1
            t_after = (1 + np.sqrt(1 + 4 * t**2)) / 2
            y = after + (t - 1) / t_after * (after - z)
            z, t = after, t_after
        expected.append(z)
    assert restarts > 0
    np.testing.assert_allclose(fista(problem, x, zeros(), steps=40), expected, atol=1e-10)
