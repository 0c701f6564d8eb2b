"""Contraction of an encoder that responds to one direction."""

from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import save_figures
from latentlab.contracts import Split
from latentlab.diagnostics import contraction
from latentlab.metrics.contraction import RADII
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


def test_the_curve_is_relative_to_pairs_of_test_images_which_are_at_1(monkeypatch, tmp_path):
    """The code is three times the image: all ratios are 3, and all quotients 1."""
    drawn = []
    monkeypatch.setattr(
        contraction, "save_curves", lambda *args, **settings: drawn.append((args, settings))
    )
    model = SimpleNamespace(encode=lambda x: 3 * x.flatten(1))
    images = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    evaluator = SimpleNamespace(test=Split(images), settings=SimpleNamespace(seed=0))
    result = contraction.diagnose(SimpleNamespace(module=model, device="cpu"), evaluator)
    assert result.metrics == pytest.approx(
        {"contraction_ratio": 3, "contraction_ratio_of_pairs": 3, "relative_contraction": 1},
        rel=1e-4,
    )
    result.figures[0].save(tmp_path / "it.png")
    ((((curve,), path), settings),) = drawn
    assert path == tmp_path / "it.png"
    assert curve.x == list(RADII)
    assert curve.y == pytest.approx([1.0] * len(RADII), rel=1e-4)
    assert settings["level"] == ("pairs of test images", 1)


def test_a_constant_encoder_has_ratios_of_0():
    model = SimpleNamespace(encode=lambda x: torch.zeros(len(x), 2))
    images = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    evaluator = SimpleNamespace(test=Split(images), settings=SimpleNamespace(seed=0))
    result = contraction.diagnose(SimpleNamespace(module=model, device="cpu"), evaluator)
    assert set(result.metrics.values()) == {0}


def test_does_not_apply_to_discrete_codes():
    assert not contraction.applies(VQVAE((1, 8, 8), width=2))
