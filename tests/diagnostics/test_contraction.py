"""Contraction of an encoder that responds to one direction."""

from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import save_figures
from latentlab.contracts import Split
from latentlab.diagnostics import contraction
from latentlab.models.linear_ae import LinearAE
from latentlab.models.vq_vae import VQVAE


def test_an_encoder_of_the_direction_of_the_data_contracts_all_others(tmp_path):
    """Images on a line, coded by their position: a random change costs E|u_1|, about 1/√P."""
    line = torch.ones(16) / 4
    model = LinearAE((1, 4, 4), latent_dim=1)
    model.encode = lambda x: (x.flatten(1) @ line)[:, None]
    levels = torch.arange(30, dtype=torch.uint8)[:, None, None, None] * 8
    test = Split(levels.expand(30, 1, 4, 4).contiguous())
    evaluator = SimpleNamespace(test=test, settings=SimpleNamespace(seed=0))
    result = contraction.diagnose(SimpleNamespace(module=model, device="cpu"), evaluator)
    assert contraction.applies(model)
    assert result.metrics["contraction_ratio_of_pairs"] == pytest.approx(1, rel=1e-4)
    assert 0.05 < result.metrics["relative_contraction"] < 0.45  # E|u_1| on the sphere is 0.2
    assert set(save_figures(result, tmp_path)) == {"contraction"}


def test_does_not_apply_to_discrete_codes():
    assert not contraction.applies(VQVAE((1, 8, 8), width=2))
