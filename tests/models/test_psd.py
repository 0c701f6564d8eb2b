"""Predictive sparse decomposition against scikit-learn's Lasso."""

import pytest
import torch
from sklearn.linear_model import Lasso

from latentlab.models.psd import ACTIVE_ABOVE, PSD

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
    got = model.training_step((x, None), 0)
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
    distance = (z - f).square().sum() / 3
    assert got["prediction_sq_error"].item() == pytest.approx(distance.item(), rel=1e-6)
    sse = ((z @ columns.T).clamp(0, 1) - x.flatten(1)).square().sum() / 3
    assert got["sse"].item() == pytest.approx(sse.item(), rel=1e-6)
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


def test_units_are_active_where_the_code_is_not_close_to_0():
    model = PSD((1, 2, 2), latent_dim=3)
    assert model.active(torch.tensor([[0.5, 0.0, -0.5]])).tolist() == [[True, False, True]]
    code = ACTIVE_ABOVE * torch.tensor([[1.0, -1.0, 1.1, -1.1, 0.9]], dtype=torch.float64)
    assert model.active(code).tolist() == [[False, False, True, True, False]]


def test_the_code_is_the_scaled_tanh_and_an_image_is_clipped_to_its_range():
    torch.manual_seed(0)
    model = PSD((1, 2, 3), latent_dim=4).double()
    with torch.no_grad():
        model.gain.copy_(torch.tensor([0.5, 2.0, -1.0, 3.0]))
        model.basis.copy_(torch.randn(6, 4) * torch.tensor([0.1, 0.01, 3.0, 20.0]))
    x, b = torch.rand(5, 1, 2, 3, dtype=torch.float64), model.basis.detach()
    h = x.flatten(1) @ model.predictor.weight.T + model.predictor.bias
    z = torch.tensor([0.5, 2.0, -1.0, 3.0]) * h.tanh()
    torch.testing.assert_close(model.encode(x), z)
    lengths = b.square().sum(0).sqrt()
    assert (lengths < 1).tolist() == [True, True, False, False]
    columns = torch.cat([b[:, :2], b[:, 2:] / lengths[2:]], 1)  # shorter ones keep their length
    z = 4 * torch.randn(5, 4, dtype=torch.float64)
    expected = z @ columns.T
    assert float(expected.min()) < 0
    assert float(expected.max()) > 1
    torch.testing.assert_close(model.decode(z), expected.clip(0, 1).view(5, 1, 2, 3))


def test_without_weights_the_codes_are_those_of_least_squares():
    torch.manual_seed(0)
    model = PSD((1, 3, 4), latent_dim=5, l1_weight=0, prediction_weight=0, steps=1).double()
    x = torch.rand(3, 1, 3, 4, dtype=torch.float64)
    expected = torch.linalg.lstsq(model.columns(), x.flatten(1).T).solution.T
    torch.testing.assert_close(model.infer(x, steps=500), expected)


def test_the_columns_have_an_initial_length_of_1_and_there_are_at_most_256():
    """Values of N(0, 1/P): P ‖column‖² has a χ² distribution with P degrees of freedom."""
    torch.manual_seed(0)
    model = PSD((1, 20, 20))
    assert model.basis.shape == (400, 256)
    assert PSD((1, 4, 4)).basis.shape == (16, 16)
    squared = model.basis.detach().square().sum(0)
    assert float(squared.mean()) == pytest.approx(1, abs=5 * (2 / 400 / 256) ** 0.5)
    assert float(squared.std()) == pytest.approx((2 / 400) ** 0.5, rel=0.25)
