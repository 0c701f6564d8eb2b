"""Predictive sparse decomposition against scikit-learn's Lasso."""

import pytest
import torch
from sklearn.linear_model import Lasso

from latentlab.models.psd import PSD

UNITS, IMAGES = 50, 4


def lasso(dictionary, x, l1):
    """argmin ½‖x − Bz‖² + l1 ‖z‖₁; scikit-learn divides the error by the number of rows."""
    model = Lasso(alpha=l1 / len(dictionary), fit_intercept=False, tol=1e-12, max_iter=10**6)
    codes = [model.fit(dictionary.numpy(), image.numpy()).coef_.copy() for image in x]
    return torch.stack([torch.from_numpy(code) for code in codes])


def test_infer_finds_the_lasso_of_the_dictionary():
    model = PSD((1, 5, 6), latent_dim=UNITS, l1_weight=0.05).double()
    x = torch.rand(IMAGES, 1, 5, 6, dtype=torch.float64)
    columns = model.columns().detach()
    assert float(columns.norm(dim=0).max()) <= 1 + 1e-12
    expected = lasso(columns, x.flatten(1), 0.05)
    assert torch.allclose(model.infer(x, steps=3000), expected, atol=1e-4)
    assert model.dictionary().shape == (UNITS, 1, 5, 6)
    assert torch.allclose(model.dictionary().flatten(1), columns.T)


def test_loss_is_the_energy_of_its_three_terms():
    model = PSD((1, 5, 6), latent_dim=12, l1_weight=0.3, prediction_weight=0.6, steps=4000).double()
    x = torch.rand(3, 1, 5, 6, dtype=torch.float64)
    got = model.loss(x)
    f, columns = model.encode(x).detach(), model.columns().detach()
    rows = torch.cat([columns, 0.6**0.5 * torch.eye(12).double()])
    z = lasso(rows, torch.cat([x.flatten(1), 0.6**0.5 * f], dim=1), 0.3)
    error = 0.5 * (x.flatten(1) - z @ columns.T).square().sum(1)
    energy = error + 0.3 * z.abs().sum(1) + 0.3 * (z - f).square().sum(1)
    assert got["loss"].item() == pytest.approx(energy.mean().item(), rel=1e-8)
    assert got["lasso_energy"].item() == pytest.approx(
        (error + 0.3 * z.abs().sum(1)).mean().item(), rel=1e-6
    )
    assert got["inactive_fraction"].item() == pytest.approx(float((z == 0).double().mean()))
    got["loss"].backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_short_training_improves_the_prediction():
    torch.manual_seed(0)
    model = PSD((1, 4, 4), latent_dim=12, l1_weight=0.05, steps=30)
    x = torch.rand(64, 1, 4, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def energy_ratio():
        with torch.no_grad():
            exact = model.infer(x, steps=500)
            return (model.energy(x, model.encode(x)) / model.energy(x, exact)).mean().item()

    before = energy_ratio()
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(x)["loss"].backward()
        optimizer.step()
    assert energy_ratio() < 0.5 * before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l1_weight": -1}, "must be ≥ 0"),
        ({"prediction_weight": -1}, "must be ≥ 0"),
        ({"steps": 0}, "needs 1 or more"),
    ],
)
def test_settings_outside_of_their_range_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        PSD((1, 4, 4), **settings)


def test_units_are_active_where_the_code_is_not_zero():
    model = PSD((1, 2, 2), latent_dim=3)
    assert model.active(torch.tensor([[0.5, 0.0, -0.5]])).tolist() == [[True, False, True]]
