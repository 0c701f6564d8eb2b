"""Sparse coding against scikit-learn's Lasso; the encoder that predicts its codes."""

import pytest
import torch
from sklearn.linear_model import Lasso

from latentlab.losses.sparse_coding import SparseProblem, fista, ista, soft_threshold
from latentlab.models.psd import PSD

PIXELS, UNITS, IMAGES = 30, 50, 4


@pytest.fixture
def problem():
    torch.manual_seed(0)
    dictionary = torch.randn(PIXELS, UNITS, dtype=torch.float64)
    return SparseProblem(dictionary / dictionary.norm(dim=0), l1=0.2)


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
    expected = lasso(problem.dictionary, x, problem.l1)
    assert torch.allclose(fista(problem, x, zeros(), steps=1000), expected, atol=1e-4)
    assert 0 < (expected == 0).double().mean() < 1


def test_fista_in_single_precision_finds_it_too(problem, x):
    single = SparseProblem(problem.dictionary.float(), problem.l1)
    z = fista(single, x.float(), zeros().float(), steps=1000)
    assert torch.allclose(z.double(), lasso(problem.dictionary, x, problem.l1), atol=1e-4)


def test_half_precision_codes_come_near_it(problem, x):
    half = SparseProblem(problem.dictionary.bfloat16(), problem.l1)
    z = fista(half, x.bfloat16(), zeros().bfloat16(), steps=200).double()
    expected = lasso(problem.dictionary, x, problem.l1)
    least, found = (problem.energy(x, codes) for codes in (expected, z))
    assert torch.allclose(found, least, rtol=0.02)


def test_a_prediction_pulls_as_more_rows_of_the_lasso_would(problem, x):
    """α/2 ‖z − p‖² is the error of √α I z against √α p, so stacking both gives a plain lasso."""
    pull = 0.7
    torch.manual_seed(2)
    p = torch.randn(IMAGES, UNITS, dtype=torch.float64)
    pulled = SparseProblem(problem.dictionary, problem.l1, pull)
    rows = torch.cat([problem.dictionary, pull**0.5 * torch.eye(UNITS).double()])
    targets = torch.cat([x, pull**0.5 * p], dim=1)
    z = fista(pulled, x, p, p, steps=500)
    assert torch.allclose(z, lasso(rows, targets, problem.l1), atol=1e-6)
    stacked = SparseProblem(rows, problem.l1)
    assert torch.allclose(pulled.energy(x, z, p), stacked.energy(targets, z))


def test_ista_never_climbs_and_fista_overtakes_it(problem, x):
    energies = [problem.energy(x, ista(problem, x, zeros(), steps=n)) for n in range(0, 60, 5)]
    steps = torch.stack(energies).diff(dim=0)
    assert float(steps.max()) <= 0
    least = problem.energy(x, lasso(problem.dictionary, x, problem.l1))
    slow = problem.energy(x, ista(problem, x, zeros(), steps=60)) - least
    fast = problem.energy(x, fista(problem, x, zeros(), steps=60)) - least
    assert bool((fast < 0.5 * slow).all())


def test_soft_threshold_is_the_proximal_map_of_the_absolute_value():
    """argmin_u ½ (u − z)² + t |u| on a fine grid."""
    grid = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    for z in (-2.0, -0.3, 0.0, 0.4, 1.7):
        best = grid[(0.5 * (grid - z).square() + 0.5 * grid.abs()).argmin()]
        assert soft_threshold(torch.tensor(z), 0.5).item() == pytest.approx(best.item(), abs=1e-4)


def test_psd_codes_are_the_lassos_on_its_own_dictionary():
    model = PSD((1, 5, 6), units=UNITS, l1=0.05).double()
    x = torch.rand(IMAGES, 1, 5, 6, dtype=torch.float64)
    columns = model.columns().detach()
    assert float(columns.norm(dim=0).max()) <= 1 + 1e-12
    expected = lasso(columns, x.flatten(1), 0.05)
    assert torch.allclose(model.infer(x, steps=3000), expected, atol=1e-4)
    assert torch.allclose(
        model.dictionary().flatten(1), columns.T
    )  # (D, C, H, W) draws the columns


def test_psd_loss_is_the_energy_of_its_three_terms():
    model = PSD((1, 5, 6), units=12, l1=0.3, pull=0.6, steps=4000).double()
    x = torch.rand(3, 1, 5, 6, dtype=torch.float64)
    got = model.loss(x)
    f, columns = model.encode(x).detach(), model.columns().detach()
    rows = torch.cat([columns, 0.6**0.5 * torch.eye(12).double()])
    z = lasso(rows, torch.cat([x.flatten(1), 0.6**0.5 * f], dim=1), 0.3)
    error = 0.5 * (x.flatten(1) - z @ columns.T).square().sum(1)
    energy = error + 0.3 * z.abs().sum(1) + 0.3 * (z - f).square().sum(1)
    assert got["loss"].item() == pytest.approx(energy.mean().item(), rel=1e-8)
    assert got["inactive_share"].item() == pytest.approx(float((z == 0).double().mean()))
    got["loss"].backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_short_training_makes_the_guess_better():
    torch.manual_seed(0)
    model = PSD((1, 4, 4), units=12, l1=0.05, steps=30)
    x = torch.rand(64, 1, 4, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def surplus():
        with torch.no_grad():
            exact = model.infer(x, steps=500)
            return (model.energy(x, model.encode(x)) / model.energy(x, exact)).mean().item()

    before = surplus()
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(x)["loss"].backward()
        optimizer.step()
    assert surplus() < 0.5 * before


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"l1": -1}, "must be ≥ 0"), ({"pull": -1}, "must be ≥ 0"), ({"steps": 0}, "needs 1 or more")],
)
def test_impossible_settings_of_psd_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PSD((1, 4, 4), **settings)
