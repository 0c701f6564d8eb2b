"""Amortized inference: an encoder that predicts the optimal code, and one that does not."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diagnostics.stand_ins import save_figures
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


def test_operations_are_those_of_the_matrix_products():
    layer = nn.Linear(16, 12)
    assert amortized_inference.flops(lambda: layer(torch.rand(5, 16))) == 2 * 5 * 16 * 12
