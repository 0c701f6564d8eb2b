"""Amortized inference: an encoder that predicts the optimal code, and one that does not."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diagnostics.stand_ins import figure_inputs, save_figures
from latentlab.contracts import Split
from latentlab.diagnostics import amortized_inference
from latentlab.models.psd import PSD

SHAPE = (1, 4, 4)


def test_optimal_codes_have_no_excess_and_poor_codes_have(tmp_path):
    model = PSD(SHAPE, latent_dim=12, l1_weight=0.3).eval()
    trained = SimpleNamespace(module=model, device="cpu")
    test = Split(torch.randint(0, 256, (30, *SHAPE), dtype=torch.uint8))
    poor = amortized_inference.diagnose(trained, SimpleNamespace(test=test))
    assert amortized_inference.applies(model)
    assert set(save_figures(poor, tmp_path)) == {"energy", "reconstructions"}
    model.encode = lambda x: model.infer(x, steps=amortized_inference.OPTIMAL_STEPS)
    optimal = amortized_inference.diagnose(trained, SimpleNamespace(test=test))
    assert optimal.metrics["predicted_energy_excess"] == pytest.approx(0, abs=1e-5)
    assert optimal.metrics["predicted_sq_error_fraction"] < 1e-6
    assert poor.metrics["predicted_energy_excess"] > 0.01
    assert optimal.metrics["optimal_sse"] == pytest.approx(poor.metrics["optimal_sse"])


def test_steps_to_reach_is_the_first_count_with_a_low_excess():
    excess = {1: 0.5, 2: 0.1, 5: 0.001}
    assert amortized_inference.steps_to_reach(0.1, excess) == 2
    assert amortized_inference.steps_to_reach(0.3, excess) == 2
    assert amortized_inference.steps_to_reach(0.0, excess) == amortized_inference.OPTIMAL_STEPS


def test_operations_are_those_of_the_matrix_products_and_are_not_printed(capsys):
    layer = nn.Linear(16, 12)
    assert amortized_inference.flops(lambda: layer(torch.rand(5, 16))) == 2 * 5 * 16 * 12
    assert not capsys.readouterr().out


class Halving:
    """n steps of `infer` leave 2⁻ⁿ of the way to the optimal code, which is x.

    The energy is 2 plus the mean distance to it; a decoded code is the code.
    """

    def __init__(self, predicted):
        self.encode = lambda x: predicted * x.flatten(1)

    def infer(self, x, *, steps, start=None):
        start = torch.zeros(len(x), 4) if start is None else start
        return start + (x.flatten(1) - start) * (1 - 0.5**steps)

    def energy(self, x, z):
        return 2 + (x.flatten(1) - z).abs().mean(1)

    def decode(self, z):
        return z.unflatten(1, (1, 2, 2))


def test_metrics_and_figures_equal_those_by_hand(monkeypatch, tmp_path):
    """White images and predicted codes of 0.8: distances 2⁻ⁿ from zero and 0.2 · 2⁻ⁿ from 0.8."""
    counts = iter((600.0, 4.0))  # of FISTA and of the encoder
    monkeypatch.setattr(
        amortized_inference,
        "flops",
        lambda function: next(counts) if function().shape == (20, 4) else None,
    )
    drawn = []
    monkeypatch.setattr(
        amortized_inference, "save_curves", lambda *args, **settings: drawn.append((args, settings))
    )
    model = Halving(0.8)
    trained = SimpleNamespace(module=model, device="cpu")
    test = Split(torch.full((20, 1, 2, 2), 255, dtype=torch.uint8))
    result = amortized_inference.diagnose(trained, SimpleNamespace(test=test))
    assert result.metrics == pytest.approx(
        {
            "predicted_energy_excess": 0.2 / 2,
            "fista_steps_to_predicted": 3,  # 2⁻³ ≤ 0.2
            "predicted_sq_error_fraction": 0.2**2,
            "predicted_sse": 4 * 0.2**2,
            "optimal_sse": 0,
            "optimal_inactive_fraction": 0,
            "fista_steps_to_optimal": 10,  # 2⁻⁵ / 2 is more than 0.01, 2⁻¹⁰ / 2 is less
            "operations_ratio": 150,
        },
        abs=1e-6,
    )
    (rows,) = figure_inputs(result, "reconstructions")
    expected = torch.tensor([1.0, 1.0, 0.8])[:, None, None, None, None].expand(3, 10, 1, 2, 2)
    torch.testing.assert_close(rows, expected)
    result.figures[0].save(tmp_path / "energy.png")
    (((curves, path), settings),) = drawn
    assert path == tmp_path / "energy.png"
    for curve, start in zip(curves, (1.0, 0.2), strict=True):
        assert curve.x == [1, 2, 3, 5, 10, 20, 30, 50, 100, 200]
        excess = [max(start * 0.5**n / 2, 1e-6) for n in curve.x]
        assert curve.y == pytest.approx(excess, rel=1e-2, abs=1e-7)
    name, level = settings["level"]
    assert (name, level) == ("predicted code", pytest.approx(0.1, rel=1e-5))


def test_the_excess_is_that_of_mean_energies_and_unequal_codes_are_compared_by_their_squares():
    model = Halving(1.0)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(2, 4).view(2, 1, 2, 2)
    optimal = torch.tensor([[1.0, 0, 0, -2], [0, 0, 4, 0]])
    predicted = torch.tensor([[0.0, 0, 1, -2], [0, -3, 4, 0]])
    found = amortized_inference._compare_codes(model, x, optimal, predicted)
    assert found == pytest.approx(
        {
            "predicted_sq_error_fraction": (1 + 1 + 9) / (1 + 4 + 16),
            "predicted_sse": ((1 + 4 + 4 + 36) + (1 + 25 + 1 + 16)) / 2,
            "optimal_sse": ((0 + 4 + 9 + 36) + (1 + 4 + 1 + 16)) / 2,
            "optimal_inactive_fraction": 5 / 8,
        }
    )
    excess = amortized_inference.energy_excess(model, x, optimal)
    energies = [2 + (11 / 4 + 8 / 4) / 2, 2 + (11 / 4 + 11 / 4) / 2]  # optimal, predicted
    assert excess(predicted) == pytest.approx(energies[1] / energies[0] - 1)
